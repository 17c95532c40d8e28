"""A run: one user message on its way to its reply, watchable from anywhere, and what it leaves behind."""
