"""Converters of files as others distribute them."""
