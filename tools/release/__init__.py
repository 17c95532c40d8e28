"""Builds what is published from this workspace, and checks it: `make dist`."""
