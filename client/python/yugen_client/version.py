"""The version of this package, which it also tells the server."""

__version__ = "0.1.0"
