"""What bounds a rule may have: plain ones, or those of a change against the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from stream.config import Model, Rule
from stream.configfile.problems import Path
from stream.events import Task
from stream.monitor.metrics.worth import BUSINESS_VALUE
from stream.monitor.rules.change import INTERVAL, amount
from stream.monitor.rules.watch import ESTIMATED, LABEL_METRICS, METRICS

Report: TypeAlias = Callable[[Path, str], None]


def tasks(model: Model) -> tuple[Task, ...]:
    """The tasks that a model may turn out to have."""
    return (model.task,) if model.task else ("binary", "multiclass", "regression")


def check_bounds(rule: Rule, model: Model, place: Path, report: Report) -> None:
    """Reports what is wrong with the bounds of a rule on a metric or a feature."""
    plain = [name for name in ("above", "below") if getattr(rule, name) is not None]
    changes = [name for name in ("drop", "rise") if getattr(rule, name) is not None]
    if rule.against is not None and rule.metric is not None:
        _check_against(rule, rule.metric, plain, changes, model, place, report)
    elif plain and changes:
        report(place, f"found {' and '.join(plain + changes)}, expected bounds (above, below) or changes (drop, rise)")
    elif changes and rule.metric is not None:
        _check_changes(rule, rule.metric, changes, model, place, report)
    elif not plain and not changes:
        also = ", drop or rise" if rule.metric is not None else ""
        report(place, f"has no bound, expected above{',' if also else ' or'} below{also}")
    elif plain:
        _check_plain(rule, place, report)


def _check_against(
    rule: Rule, metric: str, plain: list[str], changes: list[str], model: Model, place: Path, report: Report
) -> None:
    """A comparison with the estimate: of a metric that is estimated, by a change."""
    from stream.monitor.estimates import estimate

    if rule.attribute is not None:
        report((*place, "against"), "does not go with attribute: gaps between groups are not estimated")
    elif metric.startswith(ESTIMATED):
        plainly = metric.removeprefix(ESTIMATED)
        report((*place, "metric"), f"found {metric}, expected {plainly}: it is what the estimate is compared with")
    elif not any(estimate.known(metric, task) for task in tasks(model)):
        known = dict.fromkeys(name for task in tasks(model) for name in estimate.names(task))
        report((*place, "against"), f"found estimate, and {metric} has none, expected one of: {', '.join(known)}")
    elif plain:
        report(place, f"found {' and '.join(plain)} against the estimate, expected drop, rise or neither")
    elif changes:
        _check_changes(rule, metric, changes, model, place, report)
    elif not _has_interval(metric, model):
        report((*place, "against"), f"needs drop or rise: no interval of {metric} is known")
    elif rule.recover is not None:
        report(
            (*place, "recover"), "goes with drop or rise: without them the alert resolves where intervals meet again"
        )


def _check_plain(rule: Rule, place: Path, report: Report) -> None:
    recover = rule.recover
    if rule.above is not None and rule.below is not None and rule.above <= rule.below:
        report((*place, "above"), f"found {rule.above:g}, expected more than below ({rule.below:g})")
    elif isinstance(recover, str):
        report((*place, "recover"), f'found "{recover}", expected a number: shares go with drop and rise')
    elif recover is not None and (
        (rule.above is not None and recover > rule.above) or (rule.below is not None and recover < rule.below)
    ):
        name = "above" if rule.above is not None and recover > rule.above else "below"
        side = "at most" if name == "above" else "at least"
        report(
            (*place, "recover"),
            f"found {recover:g}, expected {side} {getattr(rule, name):g} (the bound {name}): "
            "the alert resolves where the value is back",
        )


def _check_changes(rule: Rule, metric: str, changes: list[str], model: Model, place: Path, report: Report) -> None:
    for name in [*changes, *(["recover"] if rule.recover is not None else [])]:
        try:
            amount(getattr(rule, name))
        except ValueError as error:
            report((*place, name), str(error))
            return
    said = [getattr(rule, name) for name in changes]
    if INTERVAL in said and not _has_interval(metric, model):
        report((*place, changes[said.index(INTERVAL)]), f"found interval, and none is known of {metric}")
    if rule.recover is not None:
        _check_recover(rule, changes, place, report)
    if metric.endswith("_rise"):
        plain = metric.removesuffix("_rise") + "_rate"
        report((*place, "metric"), f"found {metric}, which is a change already, expected {plain}, or above")
    elif metric in LABEL_METRICS:
        report((*place, "metric"), f"found {metric}, which labels to come change at reference, expected above or below")
    elif metric in ("duplicate_rate", "unknown_feature_rate"):
        report((*place, "metric"), f"found {metric}, which is 0 at reference, expected above")
    reference = model.reference
    unlabelled = reference.predictions is not None and reference.labels is None
    if unlabelled and metric not in METRICS and rule.against is None:
        report(place, f"compares {metric} with the reference, which has no labels: it needs reference.labels")


def _check_recover(rule: Rule, changes: list[str], place: Path, report: Report) -> None:
    assert rule.recover is not None
    back = amount(rule.recover)
    for name in changes:
        bound = amount(getattr(rule, name))
        if INTERVAL in (rule.recover, getattr(rule, name)):
            report((*place, "recover"), "does not go with interval: the alert resolves where intervals meet again")
            return
        wider = [
            mine is not None and theirs is not None and mine > theirs
            for mine, theirs in ((back.distance, bound.distance), (back.share, bound.share))
        ]
        if any(wider):
            report(
                (*place, "recover"),
                f"found {rule.recover}, expected at most {getattr(rule, name)} (the {name}): "
                "the alert resolves where the value is back",
            )


def _has_interval(metric: str, model: Model) -> bool:
    if metric in METRICS:
        return METRICS[metric].share
    if metric.startswith(ESTIMATED):
        return False
    if metric == BUSINESS_VALUE:
        return True
    from stream.monitor.metrics.performance import has_interval

    return any(has_interval(metric, task) for task in tasks(model))
