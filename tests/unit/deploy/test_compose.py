"""What can be proven of the compose file and the image without a container engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.configfile.load import load

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = ("worker-1", "worker-2")
ONE_SHOT = {"topics"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()

KNOWN_KEYS = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "ports", "read_only",
    "restart", "security_opt", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip
"""Of a service in the Compose Specification, those that are used here: a typing error is none of them."""


def test_services_are_those_of_the_contract() -> None:
    assert set(SERVICES) == {
        "kafka", "redis", "topics", "worker-1", "worker-2", "prometheus", "alertmanager", "grafana",
    }  # fmt: skip
    for name, service in SERVICES.items():
        assert set(service) <= KNOWN_KEYS, name
    assert set(COMPOSE) <= {"name", "services", "volumes", "x-worker"}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_to_a_release(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.search(r":v?\d+\.\d+\.\d+(-alpine)?$", image), image


def test_the_image_is_built_on_a_pinned_python_and_pinned_packages() -> None:
    [python] = re.findall(r"^ARG PYTHON=(.+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"3\.\d+\.\d+-slim-\w+", python)
    assert re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE) == ["python:${PYTHON} AS build", "python:${PYTHON}"]
    assert "-c constraints.txt" in DOCKERFILE


def test_the_image_runs_without_root() -> None:
    last_stage = DOCKERFILE.rsplit("FROM ", 1)[1]
    [user] = re.findall(r"^USER (\d+):(\d+)$", last_stage, re.MULTILINE)
    assert int(user[0]) > 0
    assert int(user[1]) > 0
    assert last_stage.index("USER") < last_stage.index("ENTRYPOINT")


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[ignored.index("*") :]
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source


def test_ports_are_unique_and_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    outside = [port.split(":")[1] for port in published]
    assert len(set(outside)) == len(outside)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_whatever_stays_up_has_a_health_check_and_comes_back(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_mounted_files_exist_and_volumes_are_declared_and_used() -> None:
    used = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
                assert mode == ["ro"], volume
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_everything_that_is_waited_for_can_be_waited_for() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            needed = SERVICES[name]
            if how["condition"] == "service_healthy":
                assert "test" in needed["healthcheck"]
            else:
                assert how["condition"] == "service_completed_successfully"
                assert needed["restart"] == "no"


def test_topics_are_made_before_workers_start() -> None:
    assert SERVICES["topics"]["command"] == ["topics", "-c", "/etc/stream/stream.yaml", "--create"]
    assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    for name in WORKERS:
        assert SERVICES[name]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_workers_have_instances_of_their_own_and_the_same_key() -> None:
    environments = [SERVICES[name]["environment"] for name in WORKERS]
    assert len({environment["STREAM_INSTANCE"] for environment in environments}) == 2
    assert {environment["STREAM_STATE_KEY"] for environment in environments} == {"${STREAM_STATE_KEY:-}"}
    for name in WORKERS:
        assert "state:/var/lib/stream" in SERVICES[name]["volumes"]


@pytest.mark.parametrize("name", [*WORKERS, "topics"])
def test_the_workers_configuration_is_valid_and_names_the_services(name: str) -> None:
    config = load(ROOT / "deploy/stream.yaml", SERVICES[name]["environment"])
    [broker] = config.kafka.brokers
    host, port = broker.split(":")
    assert host in SERVICES
    assert f"INTERNAL://{host}:{port}" in SERVICES[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert config.kafka.instance == SERVICES[name]["environment"]["STREAM_INSTANCE"]
    assert config.checkpoint.store == "redis://redis:6379/0"
    inside = [port.split(":")[2] for worker in WORKERS for port in SERVICES[worker]["ports"]]
    assert inside == [str(config.http.port)] * 2


def test_redis_keeps_what_it_is_given() -> None:
    command = SERVICES["redis"]["command"]
    settings = dict(zip(command[1::2], command[2::2], strict=True))
    assert settings["--appendonly"] == "yes"
    assert settings["--maxmemory-policy"] == "noeviction"
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_prometheus_scrapes_every_worker_and_finds_its_rules_and_alertmanager() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == "stream"]
    assert job["static_configs"] == [{"targets": [f"{name}:6066" for name in WORKERS]}]
    assert all((ROOT / "deploy/prometheus" / name).exists() for name in config["rule_files"])
    [alertmanager] = config["alerting"]["alertmanagers"]
    [address] = alertmanager["static_configs"][0]["targets"]
    assert address.split(":")[0] in SERVICES


def test_grafana_has_the_data_source_and_the_dashboard() -> None:
    [source] = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"].split("//")[1].split(":")[0] in SERVICES
    [provider] = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/stream.yml").read_text())["providers"]
    mounted = dict(volume.split(":")[:2][::-1] for volume in SERVICES["grafana"]["volumes"])
    directory = ROOT / mounted[provider["options"]["path"]]
    boards = [json.loads(path.read_text()) for path in directory.glob("*.json")]
    assert boards
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (directory / Path(home).name).exists()
