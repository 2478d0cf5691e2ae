"""Searching the moments of a whole library of videos by a sentence (docs/SEARCH.md)."""
