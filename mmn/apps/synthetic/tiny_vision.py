"""A small CLIP image encoder with random weights, in the Hugging Face folder layout, for features that need no training.

Random features are enough where pictures are simple: a layer of random attention and random neurons tells colours,
places and sizes of a few shapes apart, and the grounding network learns to read them. They know nothing about the
world; real videos need real weights.
"""

import math
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from mmn.apps.synthetic.model_folder import replaced_files
from mmn.utils.errors import ConfigError


def write_tiny_vision(
    folder: str | os.PathLike,
    seed: int = 0,
    image_size: int = 32,
    patch_size: int = 8,
    hidden_size: int = 256,
    num_layers: int = 2,
    num_heads: int = 4,
    dim: int = 256,
) -> Path:
    """Write a random CLIP image encoder into `folder`, which the `clip` backbone takes as weights; return the folder.

    Args:
        folder: made if missing; files of an earlier encoder in it are replaced, each as a whole.
        seed: random seed of the weights. The global random state is neither used nor changed.
        image_size, patch_size: pixels.
        hidden_size: width of the hidden states, a multiple of `num_heads`; the feed-forward width is four times it.
        dim: D, the width of a feature row.
    """
    if min(image_size, patch_size, hidden_size, num_layers, num_heads, dim) < 1 or patch_size > image_size:
        raise ConfigError(f"an image encoder with patches of {patch_size} in pictures of {image_size} pixels cannot be")
    if hidden_size % num_heads:
        raise ConfigError(
            f"the image encoder's hidden size {hidden_size} does not fit its {num_heads} heads: make it a multiple"
        )
    config = CLIPVisionConfig(
        image_size=image_size,
        patch_size=patch_size,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        projection_dim=dim,
        architectures=["CLIPVisionModelWithProjection"],
        weights_origin=f"random, seed {seed}, never trained",
    )
    model = build_vision(config, seed)
    with replaced_files(folder) as scratch:
        config.save_pretrained(scratch)
        # Of more than one metadata entry, the order in the file would differ from one call to the next.
        save_file(model.state_dict(), scratch / "model.safetensors", metadata={"format": "pt"})
    return Path(folder)


def build_vision(config: CLIPVisionConfig, seed: int) -> CLIPVisionModelWithProjection:
    """Weights of standard deviation fan_in^-1/2, so that every layer changes its input by as much as there is of it.

    CLIP's own initial weights are far smaller: what a patch shows would hardly reach the row, which is read off the
    class token. The position vectors are as long as the patches', so that what and where are mixed by the layers.
    """
    with torch.random.fork_rng(devices=[]):  # the constructor's own draws are replaced below; leave no trace of them
        model = CLIPVisionModelWithProjection(config)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            std = 1 / math.sqrt(module.weight[0].numel())
            nn.init.normal_(module.weight, std=std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.vision_model.embeddings.class_embedding, generator=generator)
    return model.eval()
