"""Encoders that come with a sentence vector of their own: dual encoders of images and text, sentence-transformers.

Each is an `nn.Module` whose `sentence_vectors(tokens, token_mask)`, [U, L] int64 each, gives [U, size] as the library that
trained it would. Shapes: see the legend in `mmn.modeling`; U counts sentences.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel

from mmn.utils.errors import ConfigError
from mmn.utils.pretrained import read_pretrained_json

# First words of the names of a dual encoder's parts, of which each half needs its own.
HALVES = {"image": ("vision", "visual", "image"), "text": ("text",)}


class DualTextTower(nn.Module):
    """The text half of a dual encoder (CLIP, SigLIP, ...), with its projection into the space shared with images.

    Args:
        model: any model of transformers with `get_text_features`; its other half is dropped.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = keep_half(model, "text")
        self.config = model.config.get_text_config()

    def sentence_vectors(self, tokens: Tensor, token_mask: Tensor) -> Tensor:
        return features_of(self.model.get_text_features(input_ids=tokens, attention_mask=token_mask))


def keep_half(model: PreTrainedModel, half: str) -> PreTrainedModel:
    """A dual encoder without its other half, in place; `half` is one of HALVES.

    Temperature and bias of its contrastive loss go too: they would have no gradient.
    """
    (others,) = (words for name, words in HALVES.items() if name != half)
    for name in [name for name, _ in model.named_children() if name.startswith(others)]:
        delattr(model, name)
    for name in [name for name, _ in model.named_parameters(recurse=False)]:
        delattr(model, name)
    return model


class SentenceTransformer(nn.Module):
    """An encoder with the pooling that a sentence-transformers folder states (Reimers and Gurevych, 2019).

    Args:
        encoder: its transformer.
        pool: one of SENTENCE_POOLINGS.
        normalises: bring the vectors to unit length.
    """

    def __init__(self, encoder: nn.Module, pool: Callable[[Tensor, Tensor], Tensor], normalises: bool):
        super().__init__()
        self.encoder = encoder
        self.pool = pool
        self.normalises = normalises
        self.config = encoder.config

    def sentence_vectors(self, tokens: Tensor, token_mask: Tensor) -> Tensor:
        hidden = self.encoder(input_ids=tokens, attention_mask=token_mask).last_hidden_state
        vectors = self.pool(hidden, token_mask)
        return F.normalize(vectors, dim=-1) if self.normalises else vectors


def features_of(output: Any) -> Tensor:
    """The tensor that `get_text_features` or `get_image_features` gives, from transformers 5 on inside an output."""
    return output if isinstance(output, Tensor) else output.pooler_output


def mean_of_tokens(hidden: Tensor, token_mask: Tensor) -> Tensor:
    """States [U, L, hidden_size] -> their mean over the real tokens, [CLS] and [SEP] included, [U, hidden_size]."""
    weight = token_mask.to(hidden.dtype)[..., None]
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


def first_token(hidden: Tensor, token_mask: Tensor) -> Tensor:
    """States [U, L, hidden_size] -> that of the first token, [CLS] in BERT's family, [U, hidden_size]."""
    return hidden[:, 0]


def end_token(hidden: Tensor, token_mask: Tensor) -> Tensor:
    """States [U, L, hidden_size] -> that of the last real token, which has read all others in CLIP, [U, hidden_size]."""
    rows = torch.arange(len(hidden), device=hidden.device)
    return hidden[rows, token_mask.sum(dim=1) - 1]


def highest_of_tokens(hidden: Tensor, token_mask: Tensor) -> Tensor:
    """States [U, L, hidden_size] -> in every dimension the highest of the real tokens, [U, hidden_size]."""
    return hidden.masked_fill(~token_mask.bool()[..., None], -torch.inf).amax(dim=1)


SENTENCE_POOLINGS = {"mean": mean_of_tokens, "cls": first_token, "max": highest_of_tokens, "lasttoken": end_token}


def is_dual(config: PretrainedConfig) -> bool:
    """Tell a model of two halves, images and text, from a text encoder."""
    return config.get_text_config() is not config


def sentence_tower(model: PreTrainedModel, pretrained: str, key: str) -> DualTextTower | SentenceTransformer:
    """A loaded model with its own sentence vector; `key` names the config key that chose it, for messages.

    Raises ConfigError where it has none that is known.
    """
    if hasattr(model, "get_text_features"):
        return DualTextTower(model)
    modules = read_pretrained_json(pretrained, "modules.json")
    if modules is None:
        raise ConfigError(
            f"{key} is 'own', but {pretrained} is neither a dual encoder of images and text nor a folder of "
            "sentence-transformers (modules.json): take 'mean', 'cls' or 'end'"
        )
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]) or modules[0].get("path"):
        raise ConfigError(
            f"the sentence-transformers model {pretrained} has the modules {', '.join(kinds)}: only a Transformer at its "
            f"top, Pooling and Normalize are read here, so set {key} to 'mean'"
        )
    pooling = read_pretrained_json(pretrained, f"{modules[1]['path']}/config.json") or {}
    pool = SENTENCE_POOLINGS.get(_stated_pooling(pooling))
    if pool is None:
        raise ConfigError(
            f"the pooling of the sentence-transformers model {pretrained} is none of {', '.join(SENTENCE_POOLINGS)}: set "
            f"{key} to 'mean', 'cls' or 'end'"
        )
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return SentenceTransformer(model, pool, "Normalize" in kinds)


def _stated_pooling(config: dict) -> str:
    """The name in SENTENCE_POOLINGS of the one pooling that a 1_Pooling/config.json turns on; else another text.

    >>> _stated_pooling({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True})
    'mean'
    """
    if isinstance(config.get("pooling_mode"), str):
        return config["pooling_mode"]
    on = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
    names = [name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for name in on]
    return "+".join(names)
