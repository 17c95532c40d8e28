"""`coachstream check` and `coachstream table create`: what is configured, and whether it works."""
