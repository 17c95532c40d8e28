"""How long an invocation of a function may take, in seconds."""

from __future__ import annotations

LONGEST_INVOCATION_S = 900
"""Lambda's own limit (Lambda quotas, "Function timeout")."""

INVOCATION_TIMEOUT_S = 300
"""The default, and the timeout of the existing functions."""
