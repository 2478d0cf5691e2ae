"""Training runs: start, train, test, and what they leave on disk."""
