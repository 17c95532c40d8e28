"""The function that answers a message with the whole reply."""
