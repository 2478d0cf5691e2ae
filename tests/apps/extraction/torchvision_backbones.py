"""Run in a process of its own by test_backbones.py: torchvision's real architectures, whatever torch is installed.

Where torchvision's compiled operators do not fit torch, those that it wants to see at import are declared here without a
body; no backbone calls them.
"""

import copy
import sys
from unittest import mock

import torch
from torch import nn

from mmn.apps.extraction.backbone_weights import Weights
from mmn.apps.extraction.backbones import BACKBONES

DECLARED = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def declare_operators() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    for operator in DECLARED:
        library.define(operator)
    return library


def head(name: str, model: nn.Module) -> nn.Module:
    """The layers behind the features of the whole network."""
    return {"vgg16": lambda: model.classifier[5:], "r3d_18": lambda: model.fc, "swin3d": lambda: model.head}[name]()


def check(name: str, shape: tuple[int, ...], folder: str) -> None:
    """Features, put through the rest of the network, give what the whole network gives; a file loads as saved."""
    import torchvision

    kind = BACKBONES[name]
    whole = torchvision.models.get_model(kind.architecture).eval()
    # Drawing the weights again would take seconds.
    with mock.patch.object(torchvision.models, "get_model", lambda architecture: copy.deepcopy(whole)):
        compare(name, kind, whole, shape, folder)


def compare(name: str, kind: type, whole: nn.Module, shape: tuple[int, ...], folder: str) -> None:
    backbone = kind(Weights.parse("random:5"), kind.usual.layers[0]).eval()
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = backbone(inputs)
        assert rows.shape == (shape[0], kind.dim), rows.shape
        assert torch.allclose(head(name, whole)(rows), whole(inputs), atol=1e-5)
    if name == "r3d_18":
        torch.save(whole.state_dict(), f"{folder}/{name}.pth")
        loaded = kind(Weights.parse(f"{folder}/{name}.pth"), kind.usual.layers[0])
        assert all(
            torch.equal(one, other) for one, other in zip(loaded.parameters(), backbone.parameters(), strict=True)
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    library = declare_operators()
    check("vgg16", (2, 3, 64, 64), sys.argv[1])
    check("r3d_18", (2, 3, 8, 32, 32), sys.argv[1])
    check("swin3d", (2, 3, 4, 64, 64), sys.argv[1])
    print("all agree")
