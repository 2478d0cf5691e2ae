"""A small file of word vectors in GloVe's form, so that 2D-TAN runs without the real one.

Its vectors are random and say nothing of a word's meaning: of two synonyms a network knows only what it has learnt.
"""

import itertools
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from mmn.data.annotations import read_annotations
from mmn.utils.errors import DataError
from mmn.utils.files import atomic_path

PUNCTUATION = ".,;:!?\"'()"
DEVIATION = 0.4  # of a number, about that of glove.6B.300d


def sentence_words(sentences: Iterable[str]) -> list[str]:
    """The words of sentences as GloVe has words: in lower case, without the punctuation around them, in order."""
    words = itertools.chain.from_iterable(sentence.lower().split() for sentence in sentences)
    return sorted({word.strip(PUNCTUATION) for word in words} - {""})


def word_vector(word: str, size: int, seed: int) -> np.ndarray:
    """[size] float32, the same for a word wherever it comes from."""
    generator = np.random.default_rng([seed, zlib.crc32(word.encode("utf-8"))])
    return generator.normal(0, DEVIATION, size).astype(np.float32)


def write_glove(path: str, annotations: Sequence[str], size: int, seed: int) -> int:
    """Write a vector for every word of annotation files, and return how many these are.

    Args:
        annotations: files that `read_annotations` reads, their times in seconds.
        size: numbers of a vector.
    Raises DataError where a file cannot be read, or none has a word.
    """
    videos = itertools.chain.from_iterable(read_annotations(file) for file in annotations)
    words = sentence_words(sentence for video in videos for sentence in video.sentences)
    if not words:
        raise DataError(f"there is no word in {', '.join(annotations)}: name annotation files with sentences")
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for word in words:
            numbers = " ".join(f"{number:.5g}" for number in word_vector(word, size, seed).tolist())
            file.write(f"{word} {numbers}\n")
    return len(words)
