"""What all tests share: no property fails because a machine is busy; speed is judged in `benchmarks/`."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
