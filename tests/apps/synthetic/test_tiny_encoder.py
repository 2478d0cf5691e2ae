"""The small random text encoder: its vocabulary, its folder, and what its sentence vectors tell apart."""

from pathlib import Path

import pytest
import torch
from processes import run_in_group
from transformers import AutoModel, AutoTokenizer

from mmn.apps.synthetic.tiny_encoder import write_tiny_encoder
from mmn.utils.errors import ConfigError, DataError

ROOT = Path(__file__).parents[3]
SENTENCES = ["The man opens the door.", "A woman closes a window.", "Somebody washes the cup in the kitchen."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"), SENTENCES, hidden_size=64)


def sentence_vectors(folder, sentences):
    """Mean of the last hidden states over the real tokens, [S, hidden size]."""
    tokens = AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    return (hidden * mask).sum(1) / mask.sum(1)


def file_contents(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def test_tokenizer_has_exactly_as_many_tokens_as_the_embedding(folder):
    encoder = AutoModel.from_pretrained(folder)
    assert len(AutoTokenizer.from_pretrained(folder)) == encoder.config.vocab_size
    assert encoder.get_input_embeddings().num_embeddings == encoder.config.vocab_size


def test_tokenizer_lowers_words_and_adds_cls_and_sep(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(tokenizer("THE man opens")["input_ids"]) == [
        "[CLS]",
        "the",
        "man",
        "opens",
        "[SEP]",
    ]


def test_unseen_word_is_spelt_without_unknown_token(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("zebra7") == ["z", "##e", "##b", "##r", "##a", "##7"]


def test_parameters_reach_the_written_config(tmp_path):
    write_tiny_encoder(
        tmp_path, SENTENCES, hidden_size=32, num_layers=1, num_heads=2, dropout=0.2, max_position_embeddings=20
    )
    config = AutoModel.from_pretrained(tmp_path).config
    assert (config.dim, config.n_layers, config.n_heads, config.max_position_embeddings) == (32, 1, 2, 20)
    assert (config.dropout, config.attention_dropout) == (0.2, 0.2)
    assert AutoTokenizer.from_pretrained(tmp_path).model_max_length == 20


def test_vocab_size_bounds_the_vocabulary_and_keeps_frequent_words(tmp_path):
    write_tiny_encoder(tmp_path, ["seldom often often"], vocab_size=5 + 2 * 36 + 1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == 5 + 2 * 36 + 1
    assert tokenizer.tokenize("often") == ["often"]
    assert tokenizer.tokenize("seldom")[0] == "s"


def test_equal_sentences_give_equal_vectors(folder):
    first, _, again = sentence_vectors(folder, [SENTENCES[0], SENTENCES[2], SENTENCES[0]])
    assert torch.equal(first, again)


def test_mean_vector_tells_words_apart_and_hardly_their_order(folder):
    vectors = sentence_vectors(
        folder, ["the man opens the door", "the door opens the man", "the man closes the door", "a cup in a kitchen"]
    )
    reordered, one_word, all_words = torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:]).tolist()
    assert reordered > 0.995
    assert one_word < 0.96
    assert all_words < 0.6


def test_seed_decides_the_weights(tmp_path):
    weights = [
        file_contents(write_tiny_encoder(tmp_path / str(number), SENTENCES, seed=seed))["model.safetensors"]
        for number, seed in enumerate((1, 1, 2))
    ]
    assert weights[0] == weights[1] != weights[2]


def write_backwards(rank, folder):
    write_tiny_encoder(folder, SENTENCES[::-1], vocab_size=80)


def test_files_are_the_same_in_another_process_and_sentence_order(tmp_path):
    write_tiny_encoder(tmp_path / "here", SENTENCES, vocab_size=80)
    run_in_group(write_backwards, tmp_path / "there", world_size=1)  # whose hashes are others
    assert file_contents(tmp_path / "here") == file_contents(tmp_path / "there")


def test_global_random_state_is_neither_used_nor_changed(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = file_contents(write_tiny_encoder(tmp_path / "a", SENTENCES))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert file_contents(write_tiny_encoder(tmp_path / "b", SENTENCES)) == first


def test_padding_token_has_a_zero_embedding(folder):
    embedding = AutoModel.from_pretrained(folder).get_input_embeddings().weight
    assert embedding[AutoTokenizer.from_pretrained(folder).pad_token_id].abs().max() == 0


@pytest.mark.parametrize("sentences", [[], ["  "]])
def test_no_words_is_an_error(tmp_path, sentences):
    with pytest.raises(DataError, match="no sentence with a word"):
        write_tiny_encoder(tmp_path, sentences)


def test_too_small_vocabulary_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="a vocabulary of 20 tokens is too small"):
        write_tiny_encoder(tmp_path, SENTENCES, vocab_size=20)


def test_hidden_size_that_the_heads_do_not_divide_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="hidden size 30 does not fit its 4 heads"):
        write_tiny_encoder(tmp_path, SENTENCES, hidden_size=30)
