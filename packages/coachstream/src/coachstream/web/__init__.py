"""The HTTP boundary: requests in, Server-Sent Events and JSON out."""
