"""Commands: arguments, exit codes, and what stands on which stream."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stream.cli import app, spread
from stream.traffic import span

CONFIGURATIONS = Path(__file__).parent / "configurations"


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, spread([str(word) for word in words]))


@pytest.mark.parametrize(
    ("words", "spread_out"),
    [
        ("--predictions a b --labels c", "--predictions a --predictions b --labels c"),
        ("--labels a --labels b", "--labels a --labels b"),
        ("--predictions a -c f", "--predictions a -c f"),
        ("--predictions a --out d e", "--predictions a --out d e"),
        ("--predictions", "--predictions"),
        ("-o a b", "-o a b"),
    ],
)
def test_options_take_several_values(words: str, spread_out: str) -> None:
    assert spread(words.split()) == spread_out.split()


def test_check_accepts(tmp_path: Path) -> None:
    result = call("check", "-c", CONFIGURATIONS / "good" / "minimal.yaml")
    assert result.exit_code == 0
    assert "good. 0 models" in result.stdout


def test_check_refuses_on_standard_error_with_every_problem() -> None:
    path = CONFIGURATIONS / "bad" / "limits.yaml"
    result = call("check", "-c", path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        line.replace("limits.yaml:", f"{path}:", 1) for line in path.with_suffix(".txt").read_text().splitlines()
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["check"],
        ["check", "-c", "no-such-file.yaml"],
        ["run", "-c", str(CONFIGURATIONS / "bad" / "limits.yaml")],
        ["run", "-c", str(CONFIGURATIONS / "good" / "minimal.yaml"), "--log-format", "xml"],
        ["demo", "--for", "a while"],
        ["replay", "-c", str(CONFIGURATIONS / "good" / "minimal.yaml"), "--predictions", "none.jsonl", "--out", "o"],
        ["replay", "-c", str(CONFIGURATIONS / "good" / "minimal.yaml"), "--predictions", "none.jsonl"],
    ],
)
def test_bad_usage_exits_2(words: list[str]) -> None:
    assert call(*words).exit_code == 2


def test_failures_exit_1_and_say_why(tmp_path: Path) -> None:
    configuration = tmp_path / "c.yaml"
    configuration.write_text('{kafka: {brokers: "127.0.0.1:1"}, http: {port: 1}}')
    result = call("status", "-c", configuration)
    assert result.exit_code == 1
    assert "no worker answers at http://127.0.0.1:1/api/status" in result.stderr
    result = call("schemas", "--out", configuration)
    assert result.exit_code == 1
    assert "c.yaml" in result.stderr


def test_a_replay_with_a_page(tmp_path: Path) -> None:
    for side in ("predictions", "labels"):
        (tmp_path / side).write_bytes(b"".join(e.value + b"\n" for e in span(5.0, rate=20.0) if e.side == side))
    recorded: list[str | Path] = [
        "--predictions",
        tmp_path / "predictions",
        "--labels",
        tmp_path / "labels",
        "--out",
        tmp_path / "o",
    ]
    configuration = CONFIGURATIONS / "good" / "minimal.yaml"
    truth = tmp_path / "truth.yaml"
    truth.write_text("- {model: card-fraud, start: 2026-01-01T00:00:01Z, end: 2026-01-01T00:00:02Z}")
    result = call("replay", "-c", configuration, *recorded, "--report", "--truth", truth)
    assert result.exit_code == 0, result.output
    assert "report.html" in result.stdout
    assert "card-fraud" in (tmp_path / "o" / "report.html").read_text()
    truth.write_text("- {model: card-fraud, start: 5, end: 4}")
    result = call("replay", "-c", configuration, *recorded, "--truth", truth)
    assert result.exit_code == 2
    assert "[0].end: found 4.0, expected a time after the start, 5.0" in result.stderr


def test_schemas(tmp_path: Path) -> None:
    result = call("schemas", "--out", tmp_path)
    assert result.exit_code == 0
    assert json.loads((tmp_path / "label.schema.json").read_text())["$id"] == "label.schema.json"


def test_help_imports_none_of_what_takes_long() -> None:
    program = (
        "import sys\nfrom stream.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: code = end.code\n"
        "print(code, sorted({'faust', 'river', 'numpy', 'scipy', 'aiokafka', 'aiohttp', 'yaml'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "0 []"


def test_the_module_is_the_program() -> None:
    ran = subprocess.run([sys.executable, "-m", "stream", "check"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "Usage: stream check" in ran.stderr
