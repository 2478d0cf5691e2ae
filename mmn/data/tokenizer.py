"""Sentences -> token ids, for the encoder that the config names."""

from collections.abc import Sequence

import numpy as np
from transformers import AutoConfig, AutoTokenizer
from yacs.config import CfgNode

from mmn.utils.errors import ConfigError
from mmn.utils.logger import get_logger
from mmn.utils.pretrained import load_pretrained

PRETRAINED_KEY = "MODEL.MMN.TEXT_ENCODER.PRETRAINED"  # for messages
# A tokenizer may leave a few rows of the embedding unused (padding to a round size), never most of them.
SMALLEST_VOCABULARY_SHARE = 0.9
# Families whose text encoders were trained on sentences padded to full length, without a mask over the padding.
PADDED_FAMILIES = ("siglip", "siglip2")


class QueryTokenizer:
    """The tokenizer of a text encoder, checked against the encoder's vocabulary.

    Raises ConfigError where it cannot be had or does not belong to its encoder: without network or cache the library
    can return a tokenizer of five tokens, which would turn every sentence into unknowns.
    """

    def __init__(self, pretrained: str):
        config = load_pretrained(AutoConfig, pretrained, "text encoder", PRETRAINED_KEY)
        encoder = config.get_text_config()  # of a dual encoder its text half, else itself

        def fits(tokenizer) -> bool:
            return SMALLEST_VOCABULARY_SHARE * encoder.vocab_size <= len(tokenizer) <= encoder.vocab_size

        self.tokenizer = load_pretrained(AutoTokenizer, pretrained, "text encoder", PRETRAINED_KEY, fits)
        if not fits(self.tokenizer):
            raise ConfigError(
                f"the tokenizer of {pretrained!r} has {len(self.tokenizer)} tokens but its encoder embeds "
                f"{encoder.vocab_size}: they do not belong together, so fetch both again or correct {PRETRAINED_KEY}"
            )
        self.pad_id = self.tokenizer.pad_token_id or 0
        limits = (self.tokenizer.model_max_length, getattr(encoder, "max_position_embeddings", None))
        self.max_length = min(limit for limit in limits if limit)
        self.fills_up = config.model_type in PADDED_FAMILIES

    def __call__(self, sentences: Sequence[str]) -> list[np.ndarray]:
        """One int32 array of token ids per sentence, [CLS] and [SEP] included.

        Sentences beyond what the encoder can read are cut there, with a warning; equal ones are tokenised once. For an
        encoder that was trained so (PADDED_FAMILIES) all are padded to that length, and the padding counts as tokens.
        """
        distinct = list(dict.fromkeys(sentences))
        encoded = self._encode(distinct)
        too_long = [number for number, ids in enumerate(encoded) if len(ids) > self.max_length]
        if too_long:
            get_logger().warning(
                "%d sentences have more than the %d tokens the encoder reads and are cut there, the first: %.80s...",
                len(too_long),
                self.max_length,
                distinct[too_long[0]],
            )
            cut = self.tokenizer([distinct[number] for number in too_long], truncation=True, max_length=self.max_length)
            for number, ids in zip(too_long, cut["input_ids"], strict=True):
                encoded[number] = ids
        if self.fills_up:
            encoded = [[*ids, *[self.pad_id] * (self.max_length - len(ids))] for ids in encoded]
        ids_of = {sentence: np.array(ids, dtype=np.int32) for sentence, ids in zip(distinct, encoded, strict=True)}
        return [ids_of[sentence] for sentence in sentences]

    def _encode(self, sentences: list[str]) -> list[list[int]]:
        """All token ids of each sentence."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if not hasattr(backend, "encode_batch_fast"):
            return self.tokenizer(sentences, return_attention_mask=False, verbose=False)["input_ids"]
        # Straight to the library underneath, without the character offsets that nobody reads.
        backend.no_padding()
        backend.no_truncation()
        return [encoding.ids for encoding in backend.encode_batch_fast(sentences)]


def build_tokenizer(cfg: CfgNode) -> QueryTokenizer:
    """The tokenizer of MODEL.MMN.TEXT_ENCODER.PRETRAINED."""
    return QueryTokenizer(cfg.MODEL.MMN.TEXT_ENCODER.PRETRAINED)
