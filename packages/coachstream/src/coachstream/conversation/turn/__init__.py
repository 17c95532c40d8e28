"""Turns: from a user's message to the stored reply, or to following a run that is in progress."""
