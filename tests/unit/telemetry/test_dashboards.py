"""The written files: current under deploy/, complete, and safe for any model name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from typer.testing import CliRunner

from stream.cli import app
from stream.config import Config, Model
from stream.configfile.load import load
from stream.telemetry import dashboards, names
from stream.telemetry.grafana import COLUMNS
from tests import worker_views

DEPLOY = Path(__file__).parents[3] / "deploy"


def test_the_files_under_deploy_are_current() -> None:
    config = load(DEPLOY / "stream.yaml", {"STREAM_INSTANCE": "worker-1"})
    for name, text in dashboards.files(config).items():
        assert (DEPLOY / name).read_text() == text, f"deploy/{name}: write it again with `stream dashboards`"


def test_write_says_what_it_wrote(tmp_path: Path) -> None:
    written = dashboards.write(Config(), tmp_path / "new")
    assert {str(path.relative_to(tmp_path / "new")) for path in written} == set(dashboards.files(Config()))
    assert all(path.stat().st_size > 100 for path in written)
    assert dashboards.write(Config(), tmp_path / "new") == written


def test_the_dashboard_shows_every_metric_of_the_contract_and_no_other_name() -> None:
    board = json.loads(dashboards.files(Config())["grafana/dashboards/stream.json"])
    queries = " ".join(target["expr"] for panel in board["panels"] for target in panel.get("targets", []))
    used = set(re.findall(r"\bstream_\w+", queries))
    known = {sample for definition in names.ALL for sample in definition.samples}
    assert used <= known
    for definition in names.ALL:
        if definition.contract:
            assert used & set(definition.samples), definition.name


def test_panels_do_not_overlap_and_fit_the_grid() -> None:
    board = json.loads(dashboards.files(Config())["grafana/dashboards/stream.json"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_rule_says_what_happened_and_what_to_do() -> None:
    rules = yaml.safe_load(dashboards.files(Config(models={"fraud": Model()}))["prometheus/rules.yml"])
    every = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in every}) == len(every)
    for rule in every:
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["description"].endswith(".")
        known = {sample for definition in names.ALL for sample in definition.samples}
        assert set(re.findall(r"\bstream_\w+", rule["expr"])) <= known


def test_a_configured_model_that_never_comes_is_watched() -> None:
    config = Config(models={worker_views.HOSTILE: Model(), 'a"b\\c\nd': Model(), "{{ .Labels }}": Model()})
    rules = yaml.safe_load(dashboards.files(config)["prometheus/rules.yml"])
    absent = [r for group in rules["groups"] for r in group["rules"] if r["alert"] == "StreamModelNeverSeen"]
    assert absent[1]["expr"] == 'absent(stream_predictions_total{model="a\\"b\\\\c\\nd"})'
    assert "{{" not in absent[2]["annotations"]["summary"]


def test_the_first_window_is_the_shortest_of_the_configuration() -> None:
    config = Config(defaults=Model(windows=(86400.0, 600.0)))
    board = json.loads(dashboards.files(config)["grafana/dashboards/stream.json"])
    [window] = [one for one in board["templating"]["list"] if one["name"] == "window"]
    assert window["current"]["value"] == "10m"


def test_the_command_writes_them(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dashboards", "--out", str(tmp_path / "here")])
    assert done.exit_code == 0
    assert [line.removeprefix(f"{tmp_path}/here/") for line in done.output.split()] == list(dashboards.files(Config()))
    (tmp_path / "file").write_text("")
    refused = CliRunner().invoke(app, ["dashboards", "--out", str(tmp_path / "file")])
    assert refused.exit_code == 1
    assert "file" in refused.output
