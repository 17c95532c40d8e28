"""What the operator sees: one line and one set of metrics for each invocation."""
