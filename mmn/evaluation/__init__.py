"""Scores to ranked moments, and those to numbers and files."""
