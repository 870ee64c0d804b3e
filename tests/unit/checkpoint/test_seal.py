"""Sealed rows: what was written comes back, anything else is refused with a message that says what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.checkpoint.seal import KEY_VARIABLE, Seal, StateRefused, secret_for

SEAL = Seal(b"0123456789abcdef")
payloads = st.binary(max_size=300) | st.binary(max_size=20).map(lambda part: part * 500)


@given(st.integers(0, 2**31), st.text(), payloads)
def test_what_was_sealed_comes_back(shard: int, key: str, payload: bytes) -> None:
    if key.encode("utf-8", "replace").decode() != key:
        return  # lone surrogates are no keys
    assert SEAL.open(shard, key, SEAL.seal(shard, key, payload)) == payload


@given(payloads, st.data())
def test_any_change_is_refused(payload: bytes, data: st.DataObject) -> None:
    sealed = bytearray(SEAL.seal(1, "k", payload))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StateRefused):
        SEAL.open(1, "k", bytes(sealed))


@given(payloads, st.data())
def test_a_row_cut_short_or_made_longer_is_refused(payload: bytes, data: st.DataObject) -> None:
    sealed = SEAL.seal(1, "k", payload)
    with pytest.raises(StateRefused):
        SEAL.open(1, "k", sealed[: data.draw(st.integers(0, len(sealed) - 1))])
    with pytest.raises(StateRefused):
        SEAL.open(1, "k", sealed + b"\0")


@pytest.mark.parametrize(("shard", "key"), [(2, "k"), (1, "kk"), (1, ""), (11, "k")])
def test_a_row_in_another_place_is_refused(shard: int, key: str) -> None:
    with pytest.raises(StateRefused, match=r"changed after it was written.*stream reset --shard"):
        SEAL.open(shard, key, SEAL.seal(1, "k", b"payload"))


def test_place_and_payload_cannot_be_shifted_into_each_other() -> None:
    sealed = SEAL.seal(1, "ab", b"c")
    with pytest.raises(StateRefused):
        SEAL.open(1, "a", sealed[:-1] + b"bc")


def test_each_refusal_says_what_to_do() -> None:
    sealed = SEAL.seal(1, "k", b"payload")
    with pytest.raises(StateRefused, match=f"sealed with another key: give {KEY_VARIABLE}"):
        Seal(b"another key, also long").open(1, "k", sealed)
    with pytest.raises(StateRefused, match="not written by this program"):
        SEAL.open(1, "k", b"\x80\x05pickle of somebody")
    with pytest.raises(StateRefused, match="has format 2, this version reads up to 1: run the version that wrote it"):
        SEAL.open(1, "k", sealed[:2] + b"\x02" + sealed[3:])
    with pytest.raises(StateRefused, match=r"flags.*stream reset"):
        SEAL.open(1, "k", sealed[:3] + b"\x80" + sealed[4:])


def test_rows_that_repeat_themselves_are_stored_small() -> None:
    assert len(SEAL.seal(1, "k", bytes(100_000))) < 1000
    noise = os.urandom(100_000)
    assert len(SEAL.seal(1, "k", noise)) == len(noise) + 24


def test_many_rows() -> None:
    rows = {"a": b"1", "b": b"2" * 5000}
    assert dict(SEAL.open_all(3, SEAL.seal_all(3, rows).items())) == rows


def test_a_row_of_version_one_stays_readable() -> None:
    """Rows as this version wrote them; a later one must read them or say that it does not."""
    stored = bytes.fromhex(VERSION_ONE)
    assert SEAL.open(7, "offsets", stored) == b"\x82\xabpredictions\x05\xa6labels\x03"


VERSION_ONE = "534d01003e8ef0be0400badf0d8ba72ac030689b08dc8a0582ab70726564696374696f6e7305a66c6162656c7303"


def test_the_given_key_is_the_secret(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    assert secret_for(url, "configured-key-0123", {}) == b"configured-key-0123"
    assert secret_for(url, None, {KEY_VARIABLE: "environment-key-0"}) == b"environment-key-0"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"5 characters, expected at least 16.*openssl rand"):
        secret_for(url, "short", {})


def test_without_a_key_sqlite_keeps_one_beside_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/var/s.db"
    secret = secret_for(url, None, {})
    kept = tmp_path / "var" / "s.db.key"
    assert secret == secret_for(url, None, {}) == kept.read_bytes()
    assert len(secret) == 64
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert list(kept.parent.iterdir()) == [kept]
    kept.write_bytes(b"")
    with pytest.raises(ValueError, match="restore it"):
        secret_for(url, None, {})


def test_without_a_key_only_a_redis_on_this_machine_will_do(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    secret = secret_for("redis://localhost:6379/0", None, environ)
    assert secret == secret_for("redis://127.0.0.1/1", None, environ)
    assert [path.name for path in (tmp_path / "stream").iterdir()] == ["state.key"]
    with pytest.raises(ValueError, match=rf"every worker needs the same key: set {KEY_VARIABLE}.*openssl") as caught:
        secret_for("redis://user:s3cret@redis.example:6379/0", None, environ)
    assert "s3cret" not in str(caught.value)


def test_memory_needs_no_key() -> None:
    assert secret_for("memory://", None, {}) != secret_for("memory://", None, {})
