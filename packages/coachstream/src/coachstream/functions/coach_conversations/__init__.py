"""Creates, lists, gets, renames and deletes conversations, and exports and deletes a user's data."""
