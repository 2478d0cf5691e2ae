"""Moments in one video: the Python API `MomentLocalizer` and tools/localize.py."""
