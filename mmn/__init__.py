"""MMN, the Mutual Matching Network for temporal grounding (AAAI 2022)."""

__version__ = "0.1.0"
