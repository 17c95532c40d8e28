"""HTTP <-> payload format 2.0, and a Function URL as an ASGI app."""
