"""A text encoder in the space of simulated features, as a Hugging Face folder: the two are a dual encoder together.

Its one layer is a table of the words' vectors (`simulated_features.WordVectors`), zero for stop words and special tokens,
so that the mean over a sentence's tokens points where the sentence's signal in the features does.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from mmn.apps.synthetic.model_folder import replaced_files
from mmn.apps.synthetic.simulated_features import STOP_WORDS, WORD, WordVectors
from mmn.apps.synthetic.tiny_encoder import build_tokenizer

MAX_TOKENS = 512


def write_word_encoder(folder: str | os.PathLike, sentences: Iterable[str], dim: int, seed: int) -> Path:
    """Write a tokenizer and a BERT without layers into `folder` and return the folder.

    Args:
        sentences: all that are to be encoded; words of others are spelt in characters, which mean nothing.
        dim, seed: those of the features, see `SimulationOptions`.
    """
    tokenizer, words = build_tokenizer(sentences, 100_000, MAX_TOKENS), WordVectors(dim, seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=1,
        max_position_embeddings=MAX_TOKENS,
        hidden_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["BertModel"],
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        encoder = BertModel(config, add_pooling_layer=False)
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.embeddings.LayerNorm.weight.fill_(1.0)
        for token, number in tokenizer.get_vocab().items():
            if WORD.fullmatch(token) and token not in STOP_WORDS:
                encoder.embeddings.word_embeddings.weight[number] = torch.from_numpy(words.word(token))
    with replaced_files(folder) as scratch:
        tokenizer.save_pretrained(scratch)
        config.save_pretrained(scratch)
        save_file(encoder.state_dict(), scratch / "model.safetensors", metadata={"format": "pt"})
    return Path(folder)
