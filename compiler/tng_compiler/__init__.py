"""Configuration text to plan to texts: pure, without root, network, kernel, clock or environment."""

__version__ = "0.1.0"
