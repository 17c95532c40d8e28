"""Connections to AWS, shared by the adapters that need one."""
