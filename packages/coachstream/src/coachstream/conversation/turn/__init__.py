"""A turn: from a user's message to the stored reply, or to the reader of one that is under way."""
