"""The function that writes summaries and titles after turns."""
