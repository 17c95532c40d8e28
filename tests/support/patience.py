"""How long a test waits for a condition."""

from __future__ import annotations

PATIENCE_S = 300.0
"""Far more than anything here takes on the busiest machine: only a hang exhausts it.

A test continues as soon as its condition holds, so the bound costs a passing suite nothing.
"""

PATIENT = {
    "COACHSTREAM_MODEL_STALL_S": "300",
    "COACHSTREAM_OPTIONAL_CONTEXT_BUDGET_S": "60",
    "COACHSTREAM_RECALL_TIMEOUT_S": "60",
    "COACHSTREAM_STORE_TIMEOUT_S": "60",
}
"""Settings with which a service waits as long for its dependencies, which share this machine with it."""
