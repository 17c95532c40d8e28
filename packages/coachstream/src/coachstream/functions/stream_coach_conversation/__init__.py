"""Streams a coach's reply."""
