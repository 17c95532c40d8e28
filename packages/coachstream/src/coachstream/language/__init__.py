"""Chat models that stream their replies."""
