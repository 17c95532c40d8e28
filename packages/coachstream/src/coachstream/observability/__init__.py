"""Logs and metrics: one line and one set of metrics per invocation."""
