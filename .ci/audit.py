"""Known vulnerabilities in what constraints.txt pins: `python .ci/audit.py`. Exits 1 on a finding.

pip-audit asks the advisory databases that it knows. Where none gives an answer the result is NOT AUDITED, in so many
words, and exit 0: a build without that network must not fail, and must not look audited either. STREAM_AUDIT=required
makes it fail there, too. PIP_AUDIT names the program; without it pip-audit is installed for the moment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

PINS = Path(__file__).resolve().parents[1] / "constraints.txt"

DATABASES = ("pypi", "osv")

ACCEPTED: dict[str, str] = {}
"""Advisories that do not concern us, by id, each with the reason."""


def main() -> int:
    """Audits, and says what was found."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        program = os.environ.get("PIP_AUDIT") or installed(directory)
        if program is None:
            return not_audited("pip-audit cannot be installed")
        pins = [line for line in PINS.read_text().splitlines() if "==" in line]
        for database in DATABASES:
            # One package tells whether the database answers; the others are not asked for in vain.
            if known(asked(program, database, pins[:1], directory, 60)):
                return judged(asked(program, database, pins, directory, 300))
    return not_audited("no advisory database gives an answer from here")


def installed(directory: Path) -> str | None:
    """pip-audit in an environment of its own: what it needs has nothing to do with ours."""
    venv.create(directory / "tool", with_pip=True)
    pip = [str(directory / "tool" / "bin" / "pip"), "install", "-q", "pip-audit"]
    try:
        subprocess.run(pip, capture_output=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return None
    return str(directory / "tool" / "bin" / "pip-audit")


def asked(program: str, database: str, pins: list[str], directory: Path, seconds: float) -> list[dict[str, Any]]:
    """What a database knows of some pins, one entry each; none where it cannot be reached.

    What the program says besides is not shown: it names hosts.
    """
    requirements, report = directory / "pins.txt", directory / "report.json"
    requirements.write_text("\n".join(pins))
    report.unlink(missing_ok=True)
    command = [program, "--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "10"]
    command += ["-s", database, "-f", "json", "-o", str(report), "-r", str(requirements)]
    try:
        subprocess.run(command, capture_output=True, check=False, timeout=seconds)
        found: list[dict[str, Any]] = json.loads(report.read_text())["dependencies"]
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        return []
    return found


def known(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of packages that the database knows."""
    return [entry for entry in entries if "vulns" in entry]


def judged(entries: list[dict[str, Any]]) -> int:
    """Says what was found; the exit code."""
    if not known(entries):
        return not_audited("the advisory database stopped answering")
    found = 0
    for entry in known(entries):
        for vulnerability in entry["vulns"]:
            if vulnerability["id"] in ACCEPTED:
                continue
            found += 1
            fixed = ", ".join(vulnerability.get("fix_versions", [])) or "no version yet"
            print(f"{entry['name']} {entry['version']}: {vulnerability['id']}, fixed in {fixed}")
    unknown = [entry["name"] for entry in entries if "vulns" not in entry]
    if unknown:
        print(f"NOT AUDITED, since the database does not know them: {', '.join(unknown)}")
    print(f"{found} known vulnerabilities in {len(known(entries))} packages")
    return 1 if found else 0


def not_audited(why: str) -> int:
    """Says so; the exit code."""
    print(f"NOT AUDITED: {why}")
    return 1 if os.environ.get("STREAM_AUDIT") == "required" else 0


if __name__ == "__main__":
    sys.exit(main())
