"""A small disk of its own for state, that can be filled to the last byte: a tmpfs, which only root may mount."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path

SIZE = "256m"


def written(database: Path) -> bool:
    """Whether somebody is in the middle of a commit, stopped or not."""
    probe = sqlite3.connect(database, timeout=0.0, isolation_level=None)
    try:
        probe.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    else:
        probe.execute("ROLLBACK")
        return False
    finally:
        probe.close()


def committed_at(database: Path) -> int:
    """When something was committed last, in nanoseconds: every commit writes to the log."""
    return database.with_name(f"{database.name}-wal").stat().st_mtime_ns


class Disk:
    """Mounted at `path`, if this process may; `mounted` says whether it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mounted = False
        path.mkdir(exist_ok=True)

    def mount(self) -> None:
        """A plain directory stays where mounting is not allowed."""
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(self.path)]
        self.mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        """Everything on it is gone."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)
            self.mounted = False

    def fill(self, database: Path) -> None:
        """No byte is left, and the database's log has none either that could be written over."""
        connection = sqlite3.connect(database, timeout=30.0)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        with (self.path / "ballast").open("wb", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12):
                try:
                    while ballast.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """There is room again."""
        (self.path / "ballast").unlink()
