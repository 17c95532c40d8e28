"""`coachstream check` and `coachstream table create`: the configuration, and whether it works."""
