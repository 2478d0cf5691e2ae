"""Handing a trained model on: a folder that opens on any machine, the hub, and its card."""
