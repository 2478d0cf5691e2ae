"""The small file of word vectors."""

import json

import numpy as np
import pytest

from mmn.apps.synthetic.seeded_glove import sentence_words, write_glove
from mmn.data.glove import GloveFile
from mmn.utils.errors import DataError


@pytest.fixture
def annotations(tmp_path):
    def write(name, sentences):
        entry = {"duration": 9.0, "timestamps": [[0, 5]] * len(sentences), "sentences": sentences}
        (tmp_path / name).write_text(json.dumps({name: entry}))
        return str(tmp_path / name)

    return write


def test_words_are_as_glove_has_them():
    assert sentence_words(["The man's  stove.", '"Stop!" he said (twice), the man']) == [
        "he",
        "man",
        "man's",
        "said",
        "stop",
        "stove",
        "the",
        "twice",
    ]


def test_word_has_one_vector_in_every_file_of_a_seed(annotations, tmp_path):
    files = [annotations("a.json", ["a box."]), annotations("b.json", ["the Box, lifted"])]
    vectors = []
    for seed, names in ((0, files), (0, files[1:]), (1, files)):
        path = str(tmp_path / "glove.txt")
        write_glove(path, names, size=5, seed=seed)
        vectors.append(GloveFile(path, 5).vectors(["box"])["box"])
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_file_without_a_sentence_is_a_sentence(annotations, tmp_path):
    with pytest.raises(DataError, match="no word"):
        write_glove(str(tmp_path / "glove.txt"), [annotations("a.json", ["."])], size=5, seed=0)
