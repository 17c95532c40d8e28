"""Creates, lists, gets, renames and deletes conversations."""
