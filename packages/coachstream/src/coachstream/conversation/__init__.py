"""The domain: one turn of a coaching conversation. No I/O, no AWS, no HTTP."""
