"""Writes the files by which Grafana, Prometheus and Alertmanager understand our metrics.

Invariant: the same configuration gives the same bytes, so that the files under `deploy/` can be checked against it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from stream.config import Config
from stream.telemetry import alerting, grafana
from stream.telemetry.names import window_name


def files(config: Config) -> dict[str, str]:
    """Path below the output directory and text of every file."""
    window = window_name(min(config.defaults.windows))
    return {
        "grafana/dashboards/stream.json": json.dumps(grafana.dashboard(window), indent=1, ensure_ascii=False) + "\n",
        "prometheus/rules.yml": _yaml(alerting.rules(config)),
        "alertmanager/alertmanager.yml": _yaml(alerting.alertmanager()),
    }


def write(config: Config, out: Path) -> list[Path]:
    """Writes every file below `out`, replacing earlier ones, and returns where they are."""
    written = []
    for name, text in files(config).items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _yaml(value: dict[str, Any]) -> str:
    heading = "# Written by `stream dashboards`; change the configuration and write it again.\n"
    return heading + yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)
