"""The networks that features come from, behind one small interface: see `backbone.py`."""

from mmn.apps.extraction.backbones.backbone import BACKBONES, Backbone
from mmn.apps.extraction.backbones.c3d import C3DBackbone
from mmn.apps.extraction.backbones.clip import ClipBackbone
from mmn.apps.extraction.backbones.conse import ConseBackbone
from mmn.apps.extraction.backbones.dual import DualBackbone
from mmn.apps.extraction.backbones.torchvision import R3D18Backbone, Swin3DBackbone, VGG16Backbone

__all__ = [
    "BACKBONES",
    "Backbone",
    "C3DBackbone",
    "ClipBackbone",
    "ConseBackbone",
    "DualBackbone",
    "R3D18Backbone",
    "Swin3DBackbone",
    "VGG16Backbone",
]
