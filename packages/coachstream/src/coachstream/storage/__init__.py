"""Stores for conversations, coaches, memories and workouts."""
