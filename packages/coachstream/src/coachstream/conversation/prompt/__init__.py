"""The prompt: what the model is told of the coach, the user and the conversation."""
