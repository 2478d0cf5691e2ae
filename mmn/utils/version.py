"""The version of this package, in a module of its own so that any room can name it."""

VERSION = "0.2.0"
