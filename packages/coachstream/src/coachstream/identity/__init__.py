"""The identity of callers: token verification, and a local token issuer."""
