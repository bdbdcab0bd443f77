"""A captured connection from the accept call to its place in the lifecycle."""
