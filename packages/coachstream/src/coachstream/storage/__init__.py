"""Where conversations, coaches, memories and workouts are kept."""
