"""Recorded events come out in event-time order, whatever holds them."""

import gzip
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.recorded import UnreadableFile, records, size


def line(ts: object, id: str = "1") -> bytes:
    return msgspec.json.encode({"model": "m", "id": id, "ts": ts, "prediction": 1})


def jsonl(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def ids(*paths: Path) -> list[str]:
    return [msgspec.json.decode(record.value or b"")["id"] for record in records(paths)]


def test_lines_as_they_were_written(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", line(1), b"", line(2.5))
    assert [(record.offset, record.timestamp, record.value) for record in records([path])] == [
        (0, 1000, line(1)),
        (1, 2500, line(2.5)),
    ]


@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.integers(0, 5), max_size=12))
def test_files_are_merged_in_event_time_order_and_ties_keep_theirs(
    tmp_path_factory: pytest.TempPathFactory, first: list[int], second: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    a = [(ts, f"a{i}") for i, ts in enumerate(first)]
    b = [(ts, f"b{i}") for i, ts in enumerate(second)]
    paths = [
        jsonl(folder / "a.jsonl", *(line(ts, id) for ts, id in a)),
        jsonl(folder / "b.jsonl", *(line(ts, id) for ts, id in b)),
    ]
    assert ids(*paths) == [id for _, id in sorted(a + b, key=lambda row: row[0])]


def test_a_row_without_a_time_keeps_its_place(tmp_path: Path) -> None:
    bad = [b"not json", b"\xff\xfe", line("yesterday"), line(float("1e300")), b"[" * 5000, b'{"ts": null}']
    path = jsonl(tmp_path / "a.jsonl", line(5), *bad, line(6), line(1))
    found = [record.value for record in records([path])]
    assert found == [line(1), line(5), *bad, line(6)]


def test_gzip_is_recognised_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(gzip.compress(line(1) + b"\n" + line(2, "2")))
    assert ids(path) == ["1", "2"]


def test_progress_adds_up_to_the_size(tmp_path: Path) -> None:
    paths = [jsonl(tmp_path / "a.jsonl", *[line(i) for i in range(10_000)]), jsonl(tmp_path / "b.jsonl", line(3))]
    table = tmp_path / "c.parquet"
    pq.write_table(pa.table({"model": ["m"], "id": ["1"], "ts": [1.0], "prediction": [1]}), table)
    paths.append(table)
    told: list[int] = []
    assert len(list(records(paths, told.append))) == 10_002
    assert sum(told) == size(paths)


def test_a_table_of_columns_is_the_records_that_were_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "model": ["m", "m"],
        "id": pa.array([7, 8]),
        "ts": pa.array([1_000_000, 2_500_000], pa.timestamp("us")),
        "prediction": pa.array([None, 1.5]),
        "error": ["timeout", None],
        "score": [None, float("nan")],
        "features.amount": [1.0, None],
        "features.day": pa.array(["x", "y"]).dictionary_encode(),
        "attributes.country": ["BR", None],
        "scores": pa.array([[("a", 0.5)], []], pa.map_(pa.string(), pa.float64())),
    }
    pq.write_table(pa.table(columns), path)
    found = [msgspec.json.decode(record.value or b"") for record in records([path])]
    assert found == [
        {
            "model": "m", "id": "7", "ts": "1970-01-01T00:00:01Z", "prediction": None, "error": "timeout",
            "features": {"amount": 1.0, "day": "x"}, "attributes": {"country": "BR"}, "scores": {"a": 0.5},
        },
        {
            "model": "m", "id": "8", "ts": "1970-01-01T00:00:02.500000Z", "prediction": 1.5, "score": None,
            "features": {"amount": None, "day": "y"}, "scores": {},
        },
    ]  # fmt: skip
    assert [record.timestamp for record in records([path])] == [1000, 2500]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("model,id,ts,prediction,features.amount,features.country\nm,1,2,0.5,3,BR\nm,2,1,0.25,,US\n")
    assert [msgspec.json.decode(record.value or b"") for record in records([path])] == [
        {"model": "m", "id": "2", "ts": 1, "prediction": 0.25, "features": {"amount": None, "country": "US"}},
        {"model": "m", "id": "1", "ts": 2, "prediction": 0.5, "features": {"amount": 3, "country": "BR"}},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"not a table", "a.parquet: "),
        ("a.jsonl", b"PAR1 and so on", "found a Parquet file"),
        ("a.jsonl.gz", gzip.compress(line(1) * 100)[:-20], "a.jsonl.gz: "),
        ("a.jsonl.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + b"\xff" * 50, "a.jsonl.gz: "),
    ],
    ids=["not Parquet", "Parquet by another name", "gzip cut short", "not gzip behind its head"],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=message):
        list(records([path]))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"none\.jsonl: no such file"):
        size([tmp_path / "none.jsonl"])
    with pytest.raises(UnreadableFile, match="No such file"):
        list(records([tmp_path / "none.jsonl"]))
