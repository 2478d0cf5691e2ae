"""Recall of sentences among the moments of all videos of a split."""
