"""Tables of what is known of each model: for the end of a replay and for `stream status`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.console.words import clock, number, safe, share

HEADLINES: Mapping[str, Sequence[str]] = {
    "binary": ("accuracy", "f1", "roc_auc"),
    "multiclass": ("accuracy", "f1_macro", "log_loss"),
    "regression": ("mae", "rmse", "r2"),
}
"""Metrics shown by task."""

STATE_STYLES = {"firing": "bold red", "pending": "yellow", "resolved": "green"}
SEVERITY_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


def models_table(models: Iterable[Mapping[str, Any]], title: str | None = None) -> Table:
    """One row per model from `ModelView`s as plain dictionaries (`msgspec.to_builtins`, or the API's JSON)."""
    table = Table(title=title, title_justify="left", header_style="bold", expand=False)
    table.add_column("model", overflow="fold")
    table.add_column("task")
    for name in ("predictions", "outcomes", "labelled"):
        table.add_column(name, justify="right")
    table.add_column("metrics", overflow="fold")
    table.add_column("challengers", overflow="fold")
    table.add_column("alerts", overflow="fold")
    for model in models:
        counts = model["counts"]
        shown = counts["predictions"] - counts["duplicate_predictions"] - counts["errors"]
        labelled = share(counts["outcomes"] / shown) if shown else "–"
        table.add_row(
            safe(model["model"], 60),
            model["task"],
            f"{counts['predictions']:,}",
            f"{counts['outcomes']:,}",
            labelled,
            _metrics(model),
            _challengers(model),
            _alerts(model),
        )
    return table


def alert_line(alert: Mapping[str, Any]) -> Text:
    """One alert as one line."""
    line = Text()
    line.append(f"{clock(alert['ts'])}  ", "dim")
    line.append(f"{alert['state']:<8}  ", STATE_STYLES.get(alert["state"], ""))
    line.append(f"{alert['severity']:<8}  ", SEVERITY_STYLES.get(alert["severity"], "") if _firing(alert) else "dim")
    line.append(safe(alert["model"], 60), "bold")
    if alert["segment"] != "all":
        line.append(f" {safe(alert['segment'], 60)}", "cyan")
    line.append(f"  {safe(alert['rule'], 60)}  ", "magenta")
    line.append(safe(alert["summary"]))
    return line


def print_alerts(console: Console, alerts: Iterable[Mapping[str, Any]]) -> None:
    """Alerts, one a line; a narrow terminal wraps them."""
    for alert in alerts:
        console.print(alert_line(alert), highlight=False)


def _firing(alert: Mapping[str, Any]) -> bool:
    return bool(alert["state"] == "firing")


def _metrics(model: Mapping[str, Any]) -> str:
    """Headline metrics of the longest window that has outcomes."""
    whole = next((segment for segment in model["segments"] if segment["segment"] == "all"), None)
    windows = sorted(whole["windows"], key=lambda window: -window["seconds"]) if whole else []
    for window in windows:
        found = [
            f"{name} {number(window['metrics'][name]['value'])}"
            for name in HEADLINES.get(model["task"], ())
            if window["metrics"].get(name, {}).get("value") is not None
        ]
        if found:
            return "  ".join(found)
    return "–"


def _challengers(model: Mapping[str, Any]) -> str:
    lines = []
    for challenger in model["challengers"]:
        names = [name for name in HEADLINES.get(model["task"], ()) if challenger["metrics"].get(name) is not None]
        names = names or [name for name, value in challenger["metrics"].items() if value is not None]
        scores = "  ".join(f"{safe(name, 30)} {number(challenger['metrics'][name])}" for name in names[:2])
        version = f" v{challenger['version']}" if challenger["version"] else ""
        lines.append(f"{safe(challenger['name'], 30)}{version}: {scores or '–'}")
    return "\n".join(lines) or "–"


def _alerts(model: Mapping[str, Any]) -> Text:
    states = [rule["state"] for rule in model["rules"]]
    fired = sum(model["alerts_total"].values())
    text = Text()
    if states.count("firing"):
        text.append(f"{states.count('firing')} firing", "bold red")
        text.append(f" of {fired} fired" if fired > states.count("firing") else "")
    elif fired:
        text.append(f"{fired} fired, all resolved", "yellow")
    else:
        text.append("none", "green")
    return text
