"""Runs: the production of one reply to one user message, which any process can follow."""
