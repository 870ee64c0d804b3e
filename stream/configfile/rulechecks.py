"""What a rule must say: one thing that is watched, what bounds it, and nothing that belongs to another kind of rule."""

from __future__ import annotations

from difflib import get_close_matches

from stream.config import Model, Rule
from stream.configfile.boundchecks import Report, check_bounds, tasks
from stream.configfile.durations import words
from stream.configfile.problems import Path, choice
from stream.configfile.typed import Reader
from stream.monitor.metrics.fairness import FAIRNESS
from stream.monitor.metrics.worth import BUSINESS_VALUE
from stream.monitor.rules.asked import TOGETHER, is_joint
from stream.monitor.rules.watch import ESTIMATED, FEATURE_SIGNAL, GUARDED, LABEL, METRICS, SIGNALS, budget, named
from stream.monitor.watching.composites import circle

SUBJECTS = ("metric", "feature", "detector", "guard", "absent", "all", "any")
"""What a rule can watch, by the key that says so."""

CATEGORICAL_TESTS = ("psi", "js", "hellinger", "l_infinity", "chi2")

P_VALUES = ("chi2", "mmd")
"""Tests that are small when something has changed."""

_belongs: dict[str, tuple[str, ...]] = {
    # key: the subjects it goes with
    "test": ("feature",),
    "signal": ("detector",),
    "params": ("detector",),
    "direction": ("detector", "guard"),
    "false_alarms": ("guard",),
    "tolerance": ("guard",),
    "window": ("metric", "feature"),
    "above": ("metric", "feature"),
    "below": ("metric", "feature"),
    "drop": ("metric",),
    "rise": ("metric",),
    "attribute": ("metric",),
    "against": ("metric",),
    "recover": ("metric", "feature"),
    "min_samples": ("metric", "feature", "detector", "guard", "absent"),
}


def check_rules(model: Model, path: Path, reader: Reader, report: Report) -> None:
    """Reports what is wrong with the rules of a model."""
    names: set[str] = set()
    round_about = circle(model.rules or ())
    for i, rule in enumerate(model.rules or ()):
        place = (*path, "rules", i)
        if not rule.name:
            report((*place, "name"), "found nothing, expected a name")
        elif rule.name in names:
            report((*place, "name"), f'found "{rule.name}" again, expected a name of its own')
        names.add(rule.name)
        if not reader.touched(place):
            _check_rule(rule, model, place, None if reader.touched((*path, "windows")) else model.windows, report)
        if rule.name in round_about[:1]:
            key = "all" if rule.every else "any"
            report((*place, key), f"goes round in a circle: {' names '.join([*round_about, rule.name])}")


def _check_rule(rule: Rule, model: Model, place: Path, windows: tuple[float, ...] | None, report: Report) -> None:
    composite = {"all": rule.every, "any": rule.some}
    said = [name for name in SUBJECTS if composite.get(name, getattr(rule, name, None)) is not None]
    if said == ["metric", "feature"]:
        # `missing_rate` of a feature: the feature says of what.
        _check_feature_metric(rule, place, report)
        said = ["metric"]
    if len(said) != 1:
        what = f"found {' and '.join(said)}" if said else "says nothing to watch"
        report(place, f"{what}, expected exactly one of: {', '.join(SUBJECTS)}")
        return
    subject = said[0]
    blank = type(rule)(name="")
    for key, subjects in _belongs.items():
        if getattr(rule, key, None) != getattr(blank, key, None) and subject not in subjects:
            report((*place, key), f"does not belong to a rule on {subject}, only to one on {' or '.join(subjects)}")
    _check_segment(rule, model, place, report)
    if subject in ("metric", "feature"):
        check_bounds(rule, model, place, report)
        if rule.window is not None and windows is not None and rule.window not in windows:
            known = ", ".join(words(window) for window in windows)
            report((*place, "window"), f"found {words(rule.window)}, expected one of the model's windows: {known}")
    if subject == "metric":
        _check_metric(rule, model, place, report)
    elif subject == "feature":
        _check_feature(rule, model, place, report)
    elif subject == "detector":
        _check_detector(rule, model, place, report)
    elif subject == "guard":
        _check_guard(rule, model, place, report)
    elif subject in composite:
        _check_composite(rule, subject, model, place, report)
    elif rule.hold <= 0:
        report((*place, "for"), f"is missing, expected how long there may be no {rule.absent}, such as 10m")


def _check_composite(rule: Rule, key: str, model: Model, place: Path, report: Report) -> None:
    known = [other.name for other in model.rules or () if other.name and other.name != rule.name]
    if not named(rule):
        report((*place, key), f"found an empty list, {choice('', known)}")
    for i, name in enumerate(named(rule)):
        if name in named(rule)[:i]:
            report((*place, key, i), f'found "{name}" again, expected different rules')
        elif name not in known and name != rule.name:
            report((*place, key, i), f'found "{name}", which is no other rule of the model, {choice(name, known)}')


def _check_segment(rule: Rule, model: Model, place: Path, report: Report) -> None:
    if rule.segment in ("all", "*"):
        return
    name, equals, _ = rule.segment.partition("=")
    if not equals:
        near = f' (did you mean "{name}=…"?)' if name in model.segments else ""
        report((*place, "segment"), f'found "{rule.segment}", expected all, * or name=value{near}')
    elif name not in model.segments:
        report((*place, "segment"), f'found "{name}", which is no segment of the model, {choice(name, model.segments)}')


def _check_feature_metric(rule: Rule, place: Path, report: Report) -> None:
    assert rule.metric is not None
    watched = METRICS.get(rule.metric)
    if watched is None or not watched.per_feature:
        known = [name for name, metric in METRICS.items() if metric.per_feature]
        report(place, f"found metric and feature, and {rule.metric} is not of a feature, {choice(rule.metric, known)}")


def _check_metric(rule: Rule, model: Model, place: Path, report: Report) -> None:
    assert rule.metric is not None
    if rule.metric in FAIRNESS or rule.attribute is not None:
        _check_gap(rule, model, place, report)
        return
    if rule.metric == BUSINESS_VALUE:
        if model.value is None:
            report((*place, "metric"), "found business_value, and the model has no value: say what outcomes are worth")
        return
    watched = METRICS.get(rule.metric)
    if watched is not None:
        if watched.per_feature and rule.feature is None:
            report((*place, "feature"), f"is missing: {rule.metric} is of one feature, or of all: *")
        if watched.whole and rule.segment != "all":
            report((*place, "segment"), f"found {rule.segment}, and {rule.metric} is counted for the whole model only")
        if rule.feature is not None:
            _check_feature_name(rule.feature, model, place, report)
        return
    from stream.monitor.estimates import estimate
    from stream.monitor.metrics.performance import check_metric, names

    refusals: list[str] = []
    for task in tasks(model):
        try:
            if rule.metric.startswith(ESTIMATED):
                estimate.check(rule.metric.removeprefix(ESTIMATED), task)
            else:
                check_metric(rule.metric, task)
        except ValueError as error:
            refusals.append(str(error))
    # A model whose task is to be inferred may have rules that hold for some tasks only.
    if len(refusals) == len(tasks(model)) and get_close_matches(rule.metric, FAIRNESS, cutoff=0.8):
        report((*place, "metric"), f'found "{rule.metric}", {choice(rule.metric, FAIRNESS)}')
    elif len(refusals) == len(tasks(model)) and model.task:
        report((*place, "metric"), refusals[0])
    elif len(refusals) == len(tasks(model)):
        known = dict.fromkeys(name for task in tasks(model) for name in names(task))
        known |= dict.fromkeys([*METRICS, *FAIRNESS, BUSINESS_VALUE])
        report((*place, "metric"), f'found "{rule.metric}", {choice(rule.metric, known)}')


def _check_gap(rule: Rule, model: Model, place: Path, report: Report) -> None:
    """A gap between groups: of which attribute."""
    if rule.metric not in FAIRNESS:
        report(
            (*place, "attribute"),
            f"goes with a gap between groups, and {rule.metric} is none, expected one of: {', '.join(FAIRNESS)}",
        )
    elif rule.attribute is None:
        report((*place, "attribute"), f"is missing: {rule.metric} is between the groups of an attribute")
    elif rule.attribute not in model.fairness:
        report(
            (*place, "attribute"),
            f'found "{rule.attribute}", which is not under fairness of the model, '
            f"{choice(rule.attribute, model.fairness)}",
        )
    elif rule.segment != "all":
        report((*place, "segment"), f"found {rule.segment}, expected all: groups are compared over the whole model")
    elif rule.drop is not None or rule.rise is not None:
        report(place, "compares a gap between groups with the reference, expected above or below")


def _check_feature(rule: Rule, model: Model, place: Path, report: Report) -> None:
    assert rule.feature is not None
    _check_feature_name(rule.feature, model, place, report)
    if rule.feature == LABEL:
        if model.task == "regression":
            report((*place, "feature"), "found label, and drift of labels is of classes: a regression has none")
        elif rule.test is not None and rule.test not in CATEGORICAL_TESTS:
            report((*place, "test"), f"found {rule.test}, expected one of: {', '.join(CATEGORICAL_TESTS)}")
    elif is_joint(rule) and rule.segment != "all":
        report((*place, "segment"), f"found {rule.segment}, and mmd is of the whole model only")
    if is_joint(rule) and rule.feature not in (TOGETHER, LABEL):
        report((*place, "feature"), f'found "{rule.feature}", and mmd compares all features together, expected "*"')
    if rule.test in P_VALUES and rule.above is not None:
        what = f"found a bound from above, and {rule.test} is a p-value"
        report((*place, "above"), f"{what}, expected below, such as 0.000001")
    kind = (model.features or {}).get(rule.feature)
    if kind == "categorical" and rule.test is not None and rule.test not in CATEGORICAL_TESTS:
        report(
            (*place, "test"),
            f"found {rule.test}, which is for numbers, and {rule.feature} is categorical, expected one of: "
            f"{', '.join(CATEGORICAL_TESTS)}",
        )


def _check_feature_name(name: str, model: Model, place: Path, report: Report) -> None:
    # Features that are not declared are inferred, so any name may turn out to be one.
    if not name:
        report((*place, "feature"), "found nothing, expected the name of a feature, prediction, or *")
    elif (model.features or {}).get(name) == "ignore":
        report((*place, "feature"), f'found "{name}", a feature that is ignored')


def _check_detector(rule: Rule, model: Model, place: Path, report: Report) -> None:
    from stream.monitor.rules.detectors import check_detector

    assert rule.detector is not None
    try:
        check_detector(rule.detector, rule.params)
    except ValueError as error:
        report((*place, "detector"), str(error))
    if rule.signal is None or rule.signal in SIGNALS:
        if rule.signal == "score" and model.task == "regression":
            report((*place, "signal"), "found score, and a regression has none, expected loss, prediction or latency")
        return
    name = rule.signal.removeprefix(FEATURE_SIGNAL)
    kind = (model.features or {}).get(name, "numeric")
    if name in ("", rule.signal):
        report((*place, "signal"), f'found "{rule.signal}", {choice(rule.signal, [*SIGNALS, "feature:NAME"])}')
    elif kind != "numeric":
        shown = "ignored" if kind == "ignore" else kind
        report((*place, "signal"), f'found "{name}", a feature that is {shown}: a detector reads numbers')


def _check_guard(rule: Rule, model: Model, place: Path, report: Report) -> None:
    assert rule.guard is not None
    try:
        budget(rule)
    except ValueError as error:
        report((*place, "false_alarms"), str(error))
    if rule.guard in GUARDED:
        if model.task == "regression" and rule.guard in ("error_rate", "score"):
            report((*place, "guard"), f"found {rule.guard}, and a regression has none, expected loss or prediction")
        return
    name = rule.guard.removeprefix(FEATURE_SIGNAL)
    if name in ("", rule.guard):
        known = [*GUARDED, "feature:NAME", "feature:*"]
        report((*place, "guard"), f'found "{rule.guard}", {choice(rule.guard, known)}')
    elif (model.features or {}).get(name) == "ignore":
        report((*place, "guard"), f'found "{name}", a feature that is ignored')
