"""Comparing variants of a config: runs with seeds, tables, and whether a difference is more than chance."""
