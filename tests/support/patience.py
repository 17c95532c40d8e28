"""How long a test waits for a condition."""

from __future__ import annotations

PATIENCE_S = 300.0
"""Far more than any test needs on the busiest machine: only a hang exhausts it.

A test continues as soon as its condition holds, so the bound costs a passing suite nothing.
"""

PATIENT = {
    "COACHSTREAM_MODEL_STALL_S": "300",
    "COACHSTREAM_OPTIONAL_CONTEXT_BUDGET_S": "60",
    "COACHSTREAM_RECALL_TIMEOUT_S": "60",
    "COACHSTREAM_STORE_TIMEOUT_S": "60",
}
"""Settings that make a service equally patient with its dependencies, which run on the same machine."""
