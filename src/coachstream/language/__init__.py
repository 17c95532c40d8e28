"""Chat models that stream."""
