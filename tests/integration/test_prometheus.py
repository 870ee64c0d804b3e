"""A real Prometheus, with the scrape configuration, rules and dashboard of the compose file, on a worker's HTTP server.

The worker is a view that grows, so that rates exist; every metric of the contract and every panel must have an answer.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.config import Config, Model
from stream.telemetry import dashboards, names
from stream.telemetry.collector import new_registry
from tests import worker_views
from tests.servers.page import Growing, Serving
from tests.servers.prometheus import Prometheus, prometheus

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/stream.json").read_text())
PATIENCE = 30.0


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus after enough scrapes for rates."""
    directory = tmp_path_factory.mktemp("prometheus")
    with (
        Serving(Growing(worker_views.troubled())) as served,
        prometheus(
            directory, DEPLOY / "prometheus/prometheus.yml", [f"127.0.0.1:{served.port}"], interval="1s"
        ) as server,
    ):
        until(lambda: [s for s in server.query("count_over_time(up[1m])") if int(s["value"][1]) >= 5])
        yield server


def until(found: Callable[[], Any]) -> Any:
    """What `found` gives once it gives something."""
    deadline = time.monotonic() + PATIENCE
    while not (result := found()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return result


@pytest.mark.parametrize(
    "name", [sample for definition in names.ALL if definition.contract for sample in definition.samples]
)
def test_every_metric_of_the_contract_is_answered(scraped: Prometheus, name: str) -> None:
    series = until(lambda: scraped.query(name))
    assert series
    assert all(one["metric"]["job"] == "stream" for one in series)


@pytest.mark.parametrize(
    ("title", "expression"),
    [
        (f"{panel['title']} {target['refId']}", target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    ],
)
def test_every_panel_has_an_answer(scraped: Prometheus, title: str, expression: str) -> None:
    chosen = {"model": ".+", "segment": "all", "window": "1h", "metric": "accuracy", "__rate_interval": "20s"}
    filled = re.sub(r"\$(\w+)", lambda match: chosen[match[1]], expression)
    assert until(lambda: scraped.query(filled)), title


def test_the_selectors_offer_what_is_there(scraped: Prometheus) -> None:
    for selector in DASHBOARD["templating"]["list"]:
        if selector["type"] != "query":
            continue
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", selector["query"]["query"])
        assert asked, selector
        series = asked[1].replace("$model", ".+")
        assert scraped.get(f"label/{asked[2]}/values", **{"match[]": series})


def test_conservation_holds_at_every_scrape(scraped: Prometheus) -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    [law] = [
        rule["expr"]
        for group in rules["groups"]
        for rule in group["rules"]
        if rule["alert"] == "StreamCountsDoNotAddUp"
    ]
    assert scraped.query(law.replace("!= 0", "== 0"))
    assert not scraped.query(f"count_over_time(({law})[1m:1s])")


def test_a_firing_rule_reaches_prometheus_as_an_alert(scraped: Prometheus) -> None:
    def firing() -> list[dict[str, str]]:
        alerts = scraped.get("alerts")["alerts"]
        return [alert["labels"] for alert in alerts if alert["state"] == "firing"]

    until(lambda: len(firing()) >= 2)
    found = {(labels["alertname"], labels["model"], labels["rule"], labels["severity"]) for labels in firing()}
    assert found == {
        ("StreamModelAlert", "card-fraud", "accuracy-drop", "critical"),
        ("StreamModelAlert", "card-fraud", "feature-drift", "warning"),
    }


def check(program: str, *arguments: str) -> None:
    """Runs a checker of Prometheus's own and expects it to be content."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    check("promtool", "check", "config", str(DEPLOY / "prometheus/prometheus.yml"))
    check("promtool", "check", "rules", str(DEPLOY / "prometheus/rules.yml"))


def test_promtool_accepts_the_rules_of_hostile_model_names(tmp_path: Path) -> None:
    hostile = Config(models={name: Model() for name in (worker_views.HOSTILE, 'a"b\\c\nd', "{{ .Labels }}", "模型")})
    dashboards.write(hostile, tmp_path)
    check("promtool", "check", "rules", str(tmp_path / "prometheus/rules.yml"))


def test_promtool_finds_nothing_to_say_about_the_exposition() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    from prometheus_client import generate_latest

    text = generate_latest(new_registry(worker_views.troubled))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_amtool_accepts_the_routes() -> None:
    check("amtool", "check-config", str(DEPLOY / "alertmanager/alertmanager.yml"))
