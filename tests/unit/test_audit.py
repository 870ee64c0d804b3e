"""The audit of dependencies: it fails on a finding, and where nobody answers it says so and passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]

CLEAN = {"name": "numpy", "version": "1.0", "vulns": []}
BAD = {"name": "river", "version": "0.1", "vulns": [{"id": "PYSEC-2026-7", "fix_versions": ["0.2", "0.3"]}]}
UNKNOWN = {"name": "ours", "skip_reason": "not found on https://pypi.example"}

PROGRAM = """\
#!{python}
import json, sys
answers = json.loads({answers!r})
database = sys.argv[sys.argv.index("-s") + 1]
pins = open(sys.argv[sys.argv.index("-r") + 1]).read().split()
answer = answers[database]["one" if len(pins) == 1 else "all"]
if answer is None:
    sys.exit("cannot reach https://advisories.example")
with open(sys.argv[sys.argv.index("-o") + 1], "w") as out:
    json.dump({{"dependencies": answer}}, out)
sys.exit(any(entry.get("vulns") for entry in answer))
"""

NOBODY = {"one": None, "all": None}


def audit(directory: Path, pypi: object, osv: object = NOBODY, **environment: str) -> tuple[int, str]:
    """Exit code and output with a pip-audit that has these answers, to one pin and to all."""
    program = directory / "pip-audit"
    program.write_text(PROGRAM.format(python=sys.executable, answers=json.dumps({"pypi": pypi, "osv": osv})))
    program.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "audit.py")],
        env={**os.environ, "PIP_AUDIT": str(program), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "example" not in ran.stdout + ran.stderr
    return ran.returncode, ran.stdout


def test_everything_is_pinned() -> None:
    assert len(PINS) > 50


def test_no_findings(tmp_path: Path) -> None:
    assert audit(tmp_path, {"one": [CLEAN], "all": [CLEAN, CLEAN]}) == (0, "0 known vulnerabilities in 2 packages\n")


def test_a_finding_fails_and_names_the_remedy(tmp_path: Path) -> None:
    code, said = audit(tmp_path, {"one": [CLEAN], "all": [CLEAN, BAD, UNKNOWN]})
    assert code == 1
    assert "river 0.1: PYSEC-2026-7, fixed in 0.2, 0.3" in said
    assert "NOT AUDITED, since the database does not know them: ours" in said
    assert "1 known vulnerabilities in 2 packages" in said


def test_another_database_is_asked(tmp_path: Path) -> None:
    """One that knows no package at all is a mirror without advisories."""
    code, said = audit(tmp_path, {"one": [UNKNOWN], "all": [UNKNOWN]}, {"one": [CLEAN], "all": [BAD]})
    assert (code, "PYSEC-2026-7" in said) == (1, True)


@pytest.mark.parametrize("answers", [NOBODY, {"one": [UNKNOWN], "all": [UNKNOWN]}, {"one": [CLEAN], "all": None}])
def test_no_answer_is_said_and_passes_unless_it_is_required(tmp_path: Path, answers: object) -> None:
    code, said = audit(tmp_path, answers)
    assert (code, said.startswith("NOT AUDITED: ")) == (0, True)
    code, said = audit(tmp_path, answers, STREAM_AUDIT="required")
    assert (code, said.startswith("NOT AUDITED: ")) == (1, True)
