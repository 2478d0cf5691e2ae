"""Extraction of the feature rows that the model is trained on from video files."""
