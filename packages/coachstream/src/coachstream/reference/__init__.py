"""The HTTP reference, generated from the structs and tables that the functions use; never on Lambda."""
