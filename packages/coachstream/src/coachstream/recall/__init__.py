"""Search by meaning over what is known of a user."""
