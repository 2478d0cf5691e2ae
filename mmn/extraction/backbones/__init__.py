"""The networks that features come from, behind one small interface: see `base.py`."""

from mmn.extraction.backbones.base import BACKBONES, Backbone
from mmn.extraction.backbones.clip import ClipBackbone

__all__ = ["BACKBONES", "Backbone", "ClipBackbone"]
