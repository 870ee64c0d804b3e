"""River estimators from the configuration: dotted names with parameters become a pipeline.

Invariant: nothing but public classes of river's learning packages is ever built, and every error says which step, what
was found, and the nearest name that would have worked. Estimators with a `seed` parameter get the challenger's seed, so
that two runs over the same outcomes learn the same.

A step is `river.linear_model.LogisticRegression` or `{river.linear_model.LogisticRegression: {l2: 0.001}}`. Parameters
may be steps themselves. A list is a list of steps; where one estimator is expected, a list is a pipeline:

    {river.ensemble.BaggingClassifier: {model: [river.preprocessing.StandardScaler, river.linear_model.Perceptron]}}
    {river.compose.TransformerUnion: {transformers: [
        [{river.compose.SelectType: {types: [str]}}, river.preprocessing.OneHotEncoder],
        [{river.compose.SelectType: {types: [float]}}, river.preprocessing.StandardScaler]]}}
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from types import ModuleType
from typing import Any

from river import base, compose

from stream.checkpoint.pickles import dumps, loads
from stream.checkpoint.port import StateRefused
from stream.config import Challenger
from stream.events import Task

PACKAGES = (
    "compose dummy ensemble facto feature_extraction feature_selection forest imblearn linear_model model_selection "
    "multiclass naive_bayes neighbors optim preprocessing proba rules stats tree"
).split()
"""Packages of river that a challenger may be made of."""

_TYPES: dict[str, type] = {"str": str, "float": float, "int": int, "bool": bool}
"""What `river.compose.SelectType` may be given."""

_NEAR = 0.5


def build(challenger: Challenger) -> Any:
    """The estimator that a challenger's `model` describes, untrained. Raises ValueError naming the wrong step."""
    if not challenger.model:
        raise ValueError("found no steps, expected at least one, such as river.linear_model.LogisticRegression")
    steps = [_step(step, challenger.seed, f"step {n}") for n, step in enumerate(challenger.model, 1)]
    return compose.Pipeline(*steps) if len(steps) > 1 else steps[0]


def check_challenger(challenger: Challenger, task: Task) -> None:
    """Raises ValueError when the challenger cannot be built, cannot do the task, or could not be stored."""
    estimator = build(challenger)
    last = challenger.model[-1]
    name = last if isinstance(last, str) else next(iter(last))
    able = isinstance(estimator, base.Regressor if task == "regression" else base.Classifier)
    if not able:
        kind = "a regressor" if task == "regression" else "a classifier"
        raise ValueError(
            f"step {len(challenger.model)}: {name} is {_kind(estimator)}, expected {kind} for a {task} model, "
            f"such as river.linear_model.{'LinearRegression' if task == 'regression' else 'LogisticRegression'}"
        )
    if task == "multiclass" and not estimator._multiclass:
        raise ValueError(
            f"step {len(challenger.model)}: {name} knows two classes only: put it into "
            f"{{river.multiclass.OneVsRestClassifier: {{classifier: {name}}}}}"
        )
    try:
        loads(dumps(estimator))
    except (StateRefused, TypeError, AttributeError) as error:
        raise ValueError(f"{name} cannot be stored: {error}") from error


def names_in(challenger: Challenger) -> Iterator[str]:
    """Every dotted name that a challenger's description holds."""
    yield from _names(list(challenger.model))


def _names(value: object) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith("river."):
            yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _names(key)
            yield from _names(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _names(inner)


def _step(step: object, seed: int, place: str) -> Any:
    """One step: a name, or a name with its parameters."""
    if isinstance(step, str):
        return _made(step, {}, seed, place)
    if isinstance(step, Mapping) and len(step) == 1:
        ((name, parameters),) = step.items()
        if isinstance(name, str) and isinstance(parameters, Mapping | None):
            return _made(name, parameters or {}, seed, place)
    raise ValueError(f"{place}: found {step!r}, expected a name such as river.preprocessing.StandardScaler, or one "
                     "name with its parameters")  # fmt: skip


def _made(name: str, parameters: Mapping[str, Any], seed: int, place: str) -> Any:
    found = _found(name, place)
    signature = inspect.signature(found)
    known = {known.name: known for known in signature.parameters.values()}
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter, value in parameters.items():
        if parameter not in known:
            near = get_close_matches(str(parameter), known, 1, _NEAR)
            expected = f"; nearest is {near[0]}" if near else f", expected one of {', '.join(known) or 'none'}"
            raise ValueError(f"{place}: {name} has no parameter {parameter}{expected}")
        inner = f"{place}, {parameter} of {name.rpartition('.')[2]}"
        if known[parameter].kind is inspect.Parameter.VAR_POSITIONAL:
            several = value if isinstance(value, list | tuple) else [value]
            positional += [_TYPES.get(part, part) if parameter == "types" else _value(part, seed, inner, True)
                           for part in several]  # fmt: skip
        else:
            named[parameter] = _value(value, seed, inner, not parameter.endswith("s"))
    if "seed" in known and "seed" not in named:
        named["seed"] = seed
    try:
        return found(*positional, **named)
    except Exception as error:  # river's constructors check their arguments in many ways
        raise ValueError(f"{place}: {name} does not take these parameters: {error}") from error


def _value(value: Any, seed: int, place: str, one: bool) -> Any:
    """A parameter's value, with every river name in it built. `one`: a list of steps means one pipeline."""
    if isinstance(value, str) and value.startswith("river."):
        return _made(value, {}, seed, place)
    if isinstance(value, Mapping) and len(value) == 1 and str(next(iter(value))).startswith("river."):
        return _step(value, seed, place)
    if isinstance(value, list | tuple):
        inner = [_value(part, seed, place, True) for part in value]
        steps = bool(inner) and all(isinstance(part, base.Base) for part in inner)
        return compose.Pipeline(*inner) if one and steps else inner
    return value


def _found(name: str, place: str) -> type:
    """The class of a dotted name."""
    package, _, rest = name.removeprefix("river.").partition(".")
    if name.startswith("river.") and package in PACKAGES and rest:
        found: Any = importlib.import_module(f"river.{package}")
        for part in rest.split("."):
            found = getattr(found, part, None) if part[:1] != "_" else None
            if isinstance(found, ModuleType) and not found.__name__.startswith("river."):
                break
        if isinstance(found, type) and found.__module__.split(".")[:2] in (
            ["river", package],
            ["river", "_river_rust"],
        ):
            if inspect.isabstract(found):
                raise ValueError(f"{place}: {name} is an interface, expected an estimator")
            return found
    near = get_close_matches(name, public_names(), 1, _NEAR)
    raise ValueError(
        f"{place}: found {name}, which is no class of river's learning packages"
        + (f"; nearest is {near[0]}" if near else f" (river.{', river.'.join(PACKAGES)})")
    )


@cache
def public_names() -> tuple[str, ...]:
    """Dotted names of everything that a challenger may be made of.

    >>> "river.linear_model.LogisticRegression" in public_names()
    True
    """
    found = []
    for package in PACKAGES:
        module = importlib.import_module(f"river.{package}")
        for name in getattr(module, "__all__", ()):
            inner = getattr(module, name, None)  # river names one that is not there
            if isinstance(inner, type):
                found.append(f"river.{package}.{name}")
            elif isinstance(inner, ModuleType):
                found += [f"river.{package}.{name}.{deep}" for deep in getattr(inner, "__all__", ())]
    return tuple(found)


def _kind(estimator: object) -> str:
    kinds = {base.Classifier: "a classifier", base.Regressor: "a regressor", base.Transformer: "a transformer"}
    return next((words for kind, words in kinds.items() if isinstance(estimator, kind)), "no estimator")
