"""The demo: who the user is, who the coaches are, and what they know of each other."""
