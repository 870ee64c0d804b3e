"""JSON Schema files of the records, written from their types.

Invariant: `schemas/` in the repository is exactly what `documents()` gives; a test compares them.
"""

from __future__ import annotations

import json
from pathlib import Path

from stream.events import RECORDS, schema


def documents() -> dict[str, str]:
    """Text of each schema by file name."""
    return {
        f"{name}.schema.json": json.dumps(schema(record, name), indent=2) + "\n" for name, record in RECORDS.items()
    }


def write(folder: Path) -> list[Path]:
    """Writes all schema files into a folder, which is made when it is missing; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in documents().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
