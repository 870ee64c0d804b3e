"""Configurations as files: the good ones load, each bad one is refused with the message that stands beside it.

`NAME.txt` beside `bad/NAME.yaml` has one line per problem; `FOLDER` stands for where the file is.
"""

from pathlib import Path

import pytest

from stream.configfile import ConfigurationError, load

FOLDER = Path(__file__).parents[1] / "configurations"
GOOD = sorted((FOLDER / "good").glob("*.yaml"))
BAD = sorted((FOLDER / "bad").glob("*.yaml"))
SECRET = "s3cr3t-s3cr3t-s3cr3t"
ENVIRONMENT = {"BROKER": "kafka", "PASSWORD": SECRET, "PORT": "8080"}


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good(path: Path) -> None:
    load(path, ENVIRONMENT)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad(path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(path, ENVIRONMENT)
    message = str(caught.value).replace(f"{path}:", f"{path.name}:").replace(str(path.parent), "FOLDER")
    assert message == path.with_suffix(".txt").read_text(encoding="utf-8").rstrip("\n")
    assert SECRET not in message
    assert "hunter2" not in message


def test_there_are_many_bad_ones_and_each_has_its_message() -> None:
    assert len(BAD) >= 30
    assert {path.stem for path in BAD} == {path.stem for path in (FOLDER / "bad").glob("*.txt")}
