"""The file of intervals: both forms, and what is said about mistakes."""

from pathlib import Path

import pytest

from stream.configfile import ConfigurationError, parse
from stream.report.judge import Incident
from stream.report.truth import read

CONFIG = parse(
    """
unknown_models: dead-letter
models:
  fraud: {segments: [country], rules: [{name: psi, feature: "*", test: psi, above: 0.2}]}
  price: {}
""",
    "c.yaml",
    {},
)


def write(folder: Path, text: str, name: str = "truth.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_yaml_and_json_lines_say_the_same(tmp_path: Path) -> None:
    yaml = write(
        tmp_path,
        "- {model: fraud, start: 1970-01-01T00:01:00Z, end: 90, segment: country=BR, rule: psi, grace: 1m, note: x}\n"
        "- {model: price, start: 5, end: 6, rule: concept-drift}\n",
    )
    lines = write(
        tmp_path,
        '{"model": "fraud", "start": 60, "end": "1970-01-01T00:01:30Z", "segment": "country=BR", "rule": "psi", '
        '"grace": "1m", "note": "x"}\n\n{"model": "price", "start": 5, "end": 6, "rule": "concept-drift"}\n',
        "truth.jsonl",
    )
    expected = [
        Incident("fraud", 60.0, 90.0, "country=BR", "psi", 60.0, "x"),
        Incident("price", 5.0, 6.0, rule="concept-drift"),
    ]
    assert read(yaml, [CONFIG]) == read(lines, [CONFIG]) == expected


def test_nothing_bad_is_known(tmp_path: Path) -> None:
    assert read(write(tmp_path, ""), [CONFIG]) == []


def test_any_of_two_configurations_may_know_a_rule(tmp_path: Path) -> None:
    other = parse("models: {fraud: {rules: [{name: new, absent: labels, for: 1m}]}}", "d.yaml", {})
    path = write(tmp_path, "- {model: fraud, start: 1, end: 2, rule: new}")
    assert read(path, [CONFIG, other])[0].rule == "new"
    with pytest.raises(ConfigurationError, match='found "new", expected one of: psi'):
        read(path, [CONFIG])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{model: froud, start: 1, end: 2}", 'truth.yaml:1: [0].model: found "froud", expected one of: fraud, price; '),
        ("{model: fraud, start: 1}", "truth.yaml:1: [0].end: is missing"),
        ("{model: fraud, start: 2, end: 2}", "[0].end: found 2.0, expected a time after the start, 2.0"),
        ("{model: fraud, start: monday, end: 2}", '[0].start: found "monday", expected seconds since 1970 or such as'),
        (
            "{model: fraud, start: 1, end: 2, rule: pis}",
            '[0].rule: found "pis", expected one of: psi; did you mean psi',
        ),
        ("{model: fraud, start: 1, end: 2, segment: BR}", '[0].segment: found "BR", expected such as country=BR'),
        (
            "{model: fraud, start: 1, end: 2, segment: land=BR}",
            '[0].segment: found "land=BR", expected one of: country',
        ),
        ("{model: fraud, start: 1, end: 2, grace: 5}", "[0].grace: found 5, expected a duration such as"),
        ("{model: fraud, begin: 1, end: 2}", "[0].begin: unknown key, expected one of: model, start"),
        ("model", '[0]: found "model", expected a mapping'),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        read(write(tmp_path, f"- {row}\n"), [CONFIG])
    assert message in str(told.value)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as told:
        read(write(tmp_path, "- {model: nobody, start: 1, end: 2}\n- {model: fraud, start: 3, end: 2}\n"), [CONFIG])
    assert len(str(told.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("{model: a}", "truth.yaml", "expected a list of intervals"),
        ("- {model: a", "truth.yaml", "not YAML"),
        ("model: a\n", "truth.jsonl", "truth.jsonl:1: not JSON"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read(write(tmp_path, text, name), [CONFIG])


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: no such file"):
        read(tmp_path / "none.yaml", [CONFIG])
