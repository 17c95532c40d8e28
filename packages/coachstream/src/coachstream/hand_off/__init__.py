"""Work that a turn hands off to other functions."""
