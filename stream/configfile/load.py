"""From a file, or its text, to a `Config`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from stream.config import Config, Model
from stream.configfile.checks import check
from stream.configfile.problems import ConfigurationError, Problem
from stream.configfile.tree import Node, Tree
from stream.configfile.typed import Reader


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file. Raises ConfigurationError, also when the file cannot be read.

    Files that it names are relative to its own folder.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(str(path), [Problem((), f"not UTF-8 text: {error.reason}")]) from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigurationError(str(path), [Problem((), f"the file cannot be read: {why}")]) from None
    return parse(text, str(path), environment, file.parent)


def parse(
    text: str, name: str, environment: Mapping[str, str] | None = None, folder: str | Path | None = None
) -> Config:
    """The configuration in a text: `name` stands in messages for the file, files that it names are in `folder`."""
    tree = Tree(text, os.environ if environment is None else environment)
    reader = Reader()
    config = _read(tree, reader)
    problems = [*tree.problems, *reader.problems]
    if not tree.problems:
        config, more = check(config, tree, reader, Path(folder) if folder is not None else Path())
        problems += more
    if problems:
        raise ConfigurationError(name, problems)
    return config


def _read(tree: Tree, reader: Reader) -> Config:
    """The whole tree; a model has what `defaults` says where it says nothing of its own."""
    root = tree.root
    if not isinstance(root.value, dict):
        config: Config = reader.struct(Config, root, ())
        return config
    models = root.value.get("models")
    rest = Node({name: node for name, node in root.value.items() if name != "models"}, root.line)
    config = reader.struct(Config, rest, ())
    if models is None or models.value is None:
        return config
    if not isinstance(models.value, dict):
        reader.mismatch(models, ("models",), "a mapping from model names to what they are")
        return config
    specs: dict[str, Model] = {
        name: reader.struct(Model, node, ("models", name), inherit=config.defaults)
        for name, node in models.value.items()
    }
    return msgspec.structs.replace(config, models=specs)
