"""What the user said, with defaults applied, as frozen values: one module a way in."""
