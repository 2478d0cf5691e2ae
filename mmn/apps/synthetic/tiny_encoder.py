"""A small text encoder in the Hugging Face folder layout, for datasets that no pretrained encoder is fetched for.

The folder holds a WordPiece tokenizer whose vocabulary comes from given sentences and a randomly initialised
DistilBERT. `AutoTokenizer.from_pretrained(folder)` and `AutoModel.from_pretrained(folder)` load it, so the rest of the
program cannot tell it from `distilbert-base-uncased` but by its size.

The vocabulary is made here rather than by `tokenizers.trainers.WordPieceTrainer`, because that trainer numbers (and at
a bounded size also chooses) its pieces in the order of a hash map, which differs from one process to the next.
"""

import os
import string
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

from mmn.apps.synthetic.model_folder import replaced_files
from mmn.utils.errors import ConfigError, DataError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUATION = "##"
INITIAL_STD = 0.02
# Random position vectors as large as the word vectors would blur which words a mean over the tokens holds: the same
# word at two places would share only half of its embedding. A tenth leaves the order learnable and the words apart.
POSITION_STD = 0.1 * INITIAL_STD


def write_tiny_encoder(
    folder: str | os.PathLike,
    sentences: Iterable[str],
    hidden_size: int = 64,
    num_layers: int = 2,
    vocab_size: int = 8000,
    seed: int = 0,
    num_heads: int = 4,
    dropout: float = 0.1,
    max_position_embeddings: int = 512,
) -> Path:
    """Write a tokenizer and a random DistilBERT for `sentences` into `folder` and return the folder.

    Args:
        folder: made if missing; files of an earlier encoder in it are replaced, each as a whole.
        sentences: the corpus the vocabulary is counted on.
        hidden_size: width of the hidden states, a multiple of `num_heads`; the feed-forward width is four times it.
        vocab_size: the most tokens to keep; a small corpus gives fewer, and the encoder has exactly as many.
        seed: random seed of the weights. The global random state is neither used nor changed.
        dropout: rate in embeddings, feed-forward layers and attention, while training.
        max_position_embeddings: the longest sentence in tokens, [CLS] and [SEP] included.
    """
    if hidden_size < 1 or num_heads < 1 or hidden_size % num_heads:
        raise ConfigError(
            f"the text encoder's hidden size {hidden_size} does not fit its {num_heads} heads: make it a multiple"
        )
    tokenizer = build_tokenizer(sentences, vocab_size, max_position_embeddings)
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=max_position_embeddings,
        dim=hidden_size,
        hidden_dim=4 * hidden_size,
        n_layers=num_layers,
        n_heads=num_heads,
        dropout=dropout,
        attention_dropout=dropout,
        initializer_range=INITIAL_STD,
        architectures=["DistilBertModel"],
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = build_encoder(config, seed)
    with replaced_files(folder) as scratch:
        tokenizer.save_pretrained(scratch)
        config.save_pretrained(scratch)
        # Written directly: `encoder.save_pretrained` gives the same file and a progress bar of its own.
        save_file(encoder.state_dict(), scratch / "model.safetensors", metadata={"format": "pt"})
    return Path(folder)


def build_tokenizer(sentences: Iterable[str], vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """A lower-case BERT tokenizer whose WordPiece vocabulary covers `sentences` (see `count_vocabulary`)."""
    tokenizer = Tokenizer(models.WordPiece({}, unk_token="[UNK]", continuing_subword_prefix=CONTINUATION))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    vocabulary = count_vocabulary(split_words(tokenizer, sentences), vocab_size)
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]", continuing_subword_prefix=CONTINUATION)
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUATION)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def split_words(tokenizer: Tokenizer, sentences: Iterable[str]) -> Iterable[str]:
    """The words of all sentences as the tokenizer's own normaliser and pre-tokenizer cut them."""
    for sentence in sentences:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(sentence)):
            yield word


def count_vocabulary(words: Iterable[str], vocab_size: int) -> dict[str, int]:
    """Token -> id: special tokens, every character (at a word's start and inside it), then the most frequent words.

    The characters let any word over the corpus's alphabet, or in plain letters and digits, be spelt without [UNK].
    Words of equal count come in alphabetical order, so the ids depend on the corpus alone, not on its order.
    """
    counts = Counter(words)
    if not counts:
        raise DataError("no sentence with a word in it was given for the text encoder's vocabulary: give at least one")
    alphabet = sorted(set(string.ascii_lowercase + string.digits).union(*counts))
    tokens = [*SPECIAL_TOKENS, *alphabet, *(CONTINUATION + character for character in alphabet)]
    if vocab_size < len(tokens):
        raise ConfigError(
            f"a vocabulary of {vocab_size} tokens is too small for these sentences: their characters alone take "
            f"{len(tokens)}, so make it larger"
        )
    known = set(tokens)
    ranked = sorted((word for word in counts if word not in known), key=lambda word: (-counts[word], word))
    tokens += ranked[: vocab_size - len(tokens)]
    return {token: index for index, token in enumerate(tokens)}


def build_encoder(config: DistilBertConfig, seed: int) -> DistilBertModel:
    """A DistilBERT with weights drawn from a generator of its own, so that only `seed` decides them."""
    with torch.random.fork_rng(devices=[]):  # the constructor's own draws are replaced below; leave no trace of them
        encoder = DistilBertModel(config)
    generator = torch.Generator().manual_seed(seed)
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Embedding):
            std = POSITION_STD if "position" in name else INITIAL_STD
            nn.init.normal_(module.weight, std=std, generator=generator)
            if module.padding_idx is not None:
                module.weight.data[module.padding_idx].zero_()
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=INITIAL_STD, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return encoder.eval()
