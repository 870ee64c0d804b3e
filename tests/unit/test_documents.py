"""README and examples say what is so."""

import re
from pathlib import Path

import pytest
from msgspec import Struct
from typer.main import get_command

from stream.cli import app
from stream.config import Checkpoint, Config, Http, Kafka, Limits, Model, Rule
from stream.configfile import load, parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]
ENVIRONMENT = {"DEMO_BROKER": "localhost:9092", "DEMO_DIRECTORY": "/tmp/demo", "DEMO_PORT": "0"}


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_example_configurations_are_good(path: Path) -> None:
    load(path, ENVIRONMENT)


def test_the_rules_in_the_readme_are_good() -> None:
    (block,) = re.findall(r"```yaml\n(- \{name: .*?)```", README, re.DOTALL)
    rules = "".join(f"      {line}\n" for line in block.splitlines())
    model = parse(f"models:\n  m:\n    task: binary\n    rules:\n{rules}", "README.md", {}).models["m"]
    assert model.rules is not None
    assert {rule.severity for rule in model.rules} == {"critical", "warning"}


@pytest.mark.parametrize("kind", [Kafka, Checkpoint, Http, Limits, Model, Rule, Config], ids=lambda kind: kind.__name__)
def test_every_key_of_the_configuration_is_in_the_readme(kind: type[Struct]) -> None:
    untold = {"idempotent"}  # for brokers other than Kafka: the demo's
    missing = [
        key for key in kind.__struct_encode_fields__ if key not in untold and not re.search(rf"\b{key}\b", README)
    ]
    assert not missing


def test_every_command_is_in_the_readme_and_every_command_in_it_exists() -> None:
    commands = set(getattr(get_command(app), "commands"))  # noqa: B009 - the type depends on typer's release
    assert {name for name in commands if f"stream {name}" in README} == commands
    named = set(re.findall(r"^(?:\.venv/bin/)?stream (\w+)", README, re.MULTILINE))
    assert named <= commands


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.parent.name)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (path.parent / target).exists()] == []
