"""Measuring the project's path against the plain form of the same computation, side by side in one run."""
