"""Word vectors from a file, and the words of a sentence (SPEC section 10)."""

import numpy as np
import pytest

from mmn.data.glove import GloveFile, WordTokenizer
from mmn.utils.errors import ConfigError, DataError

LINES = ["the 1 2.5 -3", "naïve 0.25 1e-3 4", "stove 5 6 7", "<unk> 0.1 0.2 0.3"]


@pytest.fixture
def write(tmp_path):
    def write(lines, end="\n"):
        path = tmp_path / "glove.txt"
        path.write_text("\n".join(lines) + end, encoding="utf-8")
        return str(path)

    return write


def vectors(tokenizer, sentence):
    return tokenizer.vectors(tokenizer([sentence])[0]).tolist()


@pytest.mark.parametrize("end", ["\n", ""])
def test_words_in_lower_case_by_white_space_and_nothing_else(write, end):
    tokenizer = WordTokenizer(GloveFile(write(LINES, end), 3))
    the, naive, stove = [1, 2.5, -3], np.float32([0.25, 1e-3, 4]).tolist(), [5, 6, 7]
    assert vectors(tokenizer, " The  NAÏVE\tstove stove. ") == [the, naive, stove, [0, 0, 0]]
    assert vectors(tokenizer, "unknown, the <unk>") == [[0, 0, 0], the, np.float32([0.1, 0.2, 0.3]).tolist()]


def test_first_word_is_known_behind_a_byte_order_mark(write):
    tokenizer = WordTokenizer(GloveFile(write(["\ufeffthe 1 2.5 -3", *LINES[1:]]), 3))
    assert vectors(tokenizer, "the") == [[1, 2.5, -3]]


@pytest.mark.parametrize(
    ("sentence", "words"), [("the stove.", 0), ("the stove..", 1), ("the stove. ", 1), ("the. stove", 1)]
)
def test_one_period_is_cut_off_the_end_where_asked(write, sentence, words):
    tokenizer = WordTokenizer(GloveFile(write(LINES), 3), cuts_period=True)
    assert sum(vector == [0, 0, 0] for vector in vectors(tokenizer, sentence)) == words


def test_vectors_of_earlier_sentences_stay(write):
    tokenizer = WordTokenizer(GloveFile(write(LINES), 3))
    (first,) = tokenizer(["the stove"])
    tokenizer(["naïve strangers", "the"])
    assert tokenizer.vectors(first).tolist() == [[1, 2.5, -3], [5, 6, 7]]


@pytest.mark.parametrize("sentence", ["", " \n", "."])
def test_sentence_without_a_word_is_an_error(write, sentence):
    with pytest.raises(DataError, match="has no word"):
        WordTokenizer(GloveFile(write(LINES), 3), cuts_period=True)([sentence])


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["the 1 2"], "line 1 has 2 numbers"),
        (["4 3", *LINES], "line 1 has 1 numbers"),  # the head of a word2vec file
        ([*LINES, "stove 1 2 3 4"], "line 5 has 4 numbers"),
        ([*LINES, "stove  1 2 3"], "not single spaces"),
        (["the 1 2 three", *LINES], "line of 'the' is not a word and 3 decimal numbers"),
        (["the 1 2 inf", *LINES], "line of 'the' is not a word and 3 decimal numbers"),
        ([""], "line 1 has 0 numbers"),
    ],
)
def test_file_of_another_form_is_named_with_its_key_and_source(write, lines, reason):
    with pytest.raises(ConfigError, match=rf"MODEL.TAN2D.TEXT.GLOVE is .*{reason}.*nlp.stanford.edu"):
        GloveFile(write(lines), 3)


@pytest.mark.parametrize(("path", "reason"), [("", "GLOVE is empty"), ("nowhere.txt", "there is no such file")])
def test_missing_file_is_named_with_its_key_and_source(path, reason):
    with pytest.raises(ConfigError, match=rf"{reason}.*nlp.stanford.edu"):
        GloveFile(path, 3)


def test_folder_is_called_one(tmp_path):
    with pytest.raises(ConfigError, match="it is a folder"):
        GloveFile(str(tmp_path), 3)
