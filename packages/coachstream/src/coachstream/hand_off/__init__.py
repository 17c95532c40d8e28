"""Work that a turn gives to other functions."""
