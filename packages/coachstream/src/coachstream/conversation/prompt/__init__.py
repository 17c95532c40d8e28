"""The prompt: everything the model receives about the coach, the user and the conversation."""
