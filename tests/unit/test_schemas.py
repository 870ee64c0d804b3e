"""The schema files say what the record types say."""

from pathlib import Path

import jsonschema
import msgspec
import pytest

from stream.events import RECORDS, Alert, Label, Prediction, encode
from stream.schemas import documents, write

FOLDER = Path(__file__).parents[2] / "schemas"

EXAMPLES = {
    "prediction": Prediction(
        model="m", id="1", ts=1.5, prediction="cat", scores={"cat": 0.9},
        features={"a": 1, "b": None, "c": "x", "d": True},
    ),
    "label": Label(model="m", id="1", ts="2026-01-31T12:00:00Z", label=True, weight=2),
    "alert": Alert(
        id="i", fingerprint="f", model="m", segment="all", rule="r", kind="performance", severity="info",
        state="firing", value=None, samples=3, started_at=1.0, ts=2.0, summary="s", threshold=0.5,
    ),
}  # fmt: skip


def test_schema_files_are_current() -> None:
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert on_disk == documents(), "run: stream schemas --out schemas"


def test_write_makes_the_folder(tmp_path: Path) -> None:
    written = write(tmp_path / "a" / "b")
    assert {path.name for path in written} == set(documents())
    assert len(written) == len(RECORDS)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_records_are_valid_under_their_schema(name: str) -> None:
    document = msgspec.json.decode(documents()[f"{name}.schema.json"])
    jsonschema.Draft202012Validator.check_schema(document)
    jsonschema.validate(msgspec.json.decode(encode(EXAMPLES[name])), document, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("prediction", {"model": "m", "id": "1", "ts": 1}),
        ("prediction", {"model": "", "id": "1", "ts": 1, "prediction": 1}),
        ("label", {"model": "m", "id": "1", "ts": 1, "label": None}),
        ("label", {"model": "m", "id": "1", "ts": 1, "label": 1, "weight": -1}),
        ("label", {"model": "m", "id": "1", "ts": 1, "label": 1, "weight": 1001}),
        ("alert", {"id": "i"}),
    ],
)
def test_schemas_refuse_what_the_decoder_refuses(name: str, record: dict[str, object]) -> None:
    document = msgspec.json.decode(documents()[f"{name}.schema.json"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, document, jsonschema.Draft202012Validator)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(record), type=RECORDS[name])
