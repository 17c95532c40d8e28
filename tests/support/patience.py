"""How long a test waits for what must happen."""

from __future__ import annotations

PATIENCE_S = 120.0
"""Far more than anything here takes on the busiest machine: only a hang exhausts it.

A test goes on as soon as it finds what it waits for, so the bound costs a passing suite nothing.
"""
