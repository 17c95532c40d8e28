"""Who is calling: verified tokens, and a local issuer of them."""
