"""What a terminal shows of values and of text from events."""

import pytest

from stream.console.words import number, safe, share


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0"),
        (0.5, "0.500"),
        (17912.3, "17,912"),
        (1.5e12 + 0.5, "1.5e+12"),
        (-2, "-2"),
        (1e-9, "1e-09"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_shares() -> None:
    assert [share(value) for value in (None, 0, 1, 0.12345)] == ["–", "0 %", "100 %", "12.3 %"]


def test_text_from_events_cannot_command_the_terminal() -> None:
    assert safe("a\x1b[2Jb\r\n\u2028c\x9b1m") == "a\\x1b[2Jb\\x0d\\x0a\\u2028c\\x9b1m"
    assert len(safe("x" * 10_000)) == 400
