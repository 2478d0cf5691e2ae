"""Word vectors from a file of the form that GloVe's are distributed in (SPEC section 10)."""

import codecs
import os
import threading
from collections.abc import Iterable

import numpy as np
from yacs.config import CfgNode

from mmn.utils.errors import ConfigError, DataError, failed_read

KEY = "MODEL.TAN2D.TEXT.GLOVE"
SOURCE = "glove.6B.300d.txt of nlp.stanford.edu/data/glove.6B.zip, 822 MB, or a small file of tools/make_glove.py"


class GloveFile:
    """The vectors of the words in a text file: per line a word and E decimal numbers, between them single spaces.

    A line is turned into numbers when its word is asked for, so that opening the 400000 lines takes a second or two.

    Args:
        path: MODEL.TAN2D.TEXT.GLOVE.
        size: E.
    Raises ConfigError, which names the key, where there is no such file, or a line has another form or width.
    """

    def __init__(self, path: str, size: int):
        check_glove(path, size)
        self.path = path
        self.size = size
        self._places: dict[bytes, int] = {}
        with open(path, "rb") as file:
            place = 0
            for number, line in enumerate(file, start=1):
                if line.count(b" ") != size or line.startswith(b" "):
                    raise _wrong_line(path, number, line, size)
                word = line[: line.index(b" ")]
                if number == 1:
                    word = word.removeprefix(codecs.BOM_UTF8)
                self._places[word] = place  # of a word that comes twice, the last
                place += len(line)

    def __len__(self) -> int:
        return len(self._places)

    def vectors(self, words: Iterable[str]) -> dict[str, np.ndarray]:
        """Those of `words` that the file has, with their vectors [E] float32."""
        found = {}
        with open(self.path, "rb") as file:
            for word in words:
                place = self._places.get(word.encode("utf-8", "surrogatepass"))
                if place is not None:
                    file.seek(place)
                    found[word] = _numbers(file.readline(), self.path, self.size)
        return found


def check_glove(path: str, size: int) -> None:
    """Raise ConfigError unless `path` names a file whose first line is a word and `size` numbers."""
    if not path:
        raise ConfigError(f"{KEY} is empty, but 2D-TAN reads its words from a file: give the path of {SOURCE}")
    if not os.path.exists(path):
        raise ConfigError(f"{KEY} is {path}, but there is no such file, and none is downloaded: give {SOURCE}")
    try:
        with open(path, "rb") as file:
            line = file.readline()
    except OSError as error:
        raise ConfigError(f"{KEY} is {path}, which cannot be read ({failed_read(error)}): give {SOURCE}") from error
    if line.count(b" ") != size or line.startswith(b" "):
        raise _wrong_line(path, 1, line, size)
    _numbers(line, path, size)


def _numbers(line: bytes, path: str, size: int) -> np.ndarray:
    word, *numbers = line.split(b" ")
    try:
        vector = np.array([float(number) for number in numbers], dtype=np.float32)
    except ValueError:
        vector = np.array([np.nan])
    if len(vector) != size or not np.isfinite(vector).all():
        raise ConfigError(
            f"{KEY} is {path}, whose line of {word.decode('utf-8', 'replace')!r} is not a word and {size} decimal "
            f"numbers: give {SOURCE}"
        )
    return vector


def _wrong_line(path: str, number: int, line: bytes, size: int) -> ConfigError:
    return ConfigError(
        f"{KEY} is {path}, whose line {number} has {max(0, len(line.split()) - 1)} numbers after its word, or not single "
        f"spaces between them, where MODEL.TAN2D.TEXT.EMBEDDING_SIZE {size} are expected: give {SOURCE}"
    )


class WordTokenizer:
    """Sentences -> numbers of words, and those -> vectors: split at white space, in lower case, nothing else.

    Words are numbered as they come. Number 0 stands for every word that has no vector, which is zero, and for padding.

    Args:
        glove: where the vectors are.
        cuts_period: whether one "." at the end of a sentence is cut off first.
    """

    pad_id = 0
    max_length = 2**31 - 1

    def __init__(self, glove: GloveFile, cuts_period: bool = False):
        self.glove = glove
        self.cuts_period = cuts_period
        self._ids: dict[str, int] = {}
        self._table = np.zeros((1, glove.size), dtype=np.float32)
        self._lock = threading.Lock()

    def __call__(self, sentences: Iterable[str]) -> list[np.ndarray]:
        """One int32 array of word numbers per sentence. Raises DataError for a sentence without a word."""
        split = [self.words(sentence) for sentence in sentences]
        with self._lock:
            self._learn(word for words in split for word in words)
        return [np.array([self._ids[word] for word in words], dtype=np.int32) for words in split]

    def words(self, sentence: str) -> list[str]:
        """The words of a sentence."""
        words = sentence.removesuffix(".").lower().split() if self.cuts_period else sentence.lower().split()
        if not words:
            raise DataError(f"the sentence {sentence!r} has no word: take it out of the annotations")
        return words

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """Word numbers of any shape [...] -> their vectors [..., E] float32."""
        return self._table[ids]

    def _learn(self, words: Iterable[str]) -> None:
        """Number the words that are new, and read their vectors."""
        new = [word for word in dict.fromkeys(words) if word not in self._ids]
        vectors = self.glove.vectors(new)
        if vectors:
            first = len(self._table)
            self._table = np.concatenate([self._table, np.stack(list(vectors.values()))])
            self._ids.update((word, first + number) for number, word in enumerate(vectors))
        self._ids.update((word, 0) for word in new if word not in vectors)


def build_word_tokenizer(cfg: CfgNode) -> WordTokenizer:
    """The words of MODEL.TAN2D.TEXT. Raises ConfigError where its file cannot be read."""
    text = cfg.MODEL.TAN2D.TEXT
    return WordTokenizer(GloveFile(text.GLOVE, text.EMBEDDING_SIZE), text.CUT_PERIOD)
