"""The function that responds to a message with the complete reply."""
