"""Text encoders with a vector of their own: as the library that trained them gives it, and errors where there is none."""

import json

import pytest
import torch
from dual_models import MAX_LENGTH, SENTENCES, write_dual
from torch.testing import assert_close
from transformers import AutoModel, AutoTokenizer

from mmn.data.collate import Collator
from mmn.data.tokenizer import QueryTokenizer
from mmn.modeling.sentence_towers import features_of
from mmn.modeling.text_encoder import TextEncoder, last_layers, load_encoder
from mmn.utils.errors import ConfigError

PADDING = {"clip": True, "siglip": "max_length"}  # of the library's own tokenizer, as each was trained


@pytest.fixture(scope="module", params=["clip", "siglip"])
def dual(request, tmp_path_factory):
    return write_dual(tmp_path_factory.mktemp("dual") / "model", request.param), request.param


def pooled(folder, pooling):
    """Vectors of SENTENCES as training and search make them, tokens included."""
    tokenizer = QueryTokenizer(folder)
    tokens, mask, rows = Collator(tokenizer.pad_id).pad_tokens(tokenizer(SENTENCES))
    with torch.no_grad():
        encoder = TextEncoder(*load_encoder(folder, True, pooling), 5, pooling).eval()
        return encoder.pooled_hidden_state(tokens, mask)[rows]


def test_own_vectors_are_those_that_the_library_compares_with_images(dual):
    folder, family = dual
    inputs = AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=PADDING[family], return_tensors="pt")
    if family == "siglip":
        inputs.pop("attention_mask")
    with torch.no_grad():
        wanted = features_of(AutoModel.from_pretrained(folder).get_text_features(**inputs))
    assert_close(pooled(folder, "own"), wanted)


@pytest.mark.parametrize("pooling", ["mean", "end", "own"])
def test_every_parameter_of_the_tower_gets_a_gradient(dual, pooling):
    folder, _ = dual
    encoder, size = load_encoder(folder, True, pooling)
    tokens = torch.tensor([[2, 5, 6, 3]])
    sum(part.sum() for part in TextEncoder(encoder, size, 5, pooling)(tokens, torch.ones_like(tokens))).backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []
    assert len(last_layers(encoder, 1)) < len(last_layers(encoder, 2)) < len(list(encoder.parameters()))


def test_end_pooling_takes_the_state_of_each_sentences_last_token(dataset_root):
    folder = str(dataset_root / "synthetic" / "text_encoder")
    library, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        wanted = [library(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1] for text in SENTENCES]
    assert_close(pooled(folder, "end"), torch.stack(wanted), rtol=1e-4, atol=1e-5)


def test_a_sentence_longer_than_clip_reads_keeps_its_end_token(tmp_path):
    tokenizer = QueryTokenizer(write_dual(tmp_path, "clip"))
    (ids,) = tokenizer(["box " * 40])
    assert (len(ids), ids[-1]) == (MAX_LENGTH, tokenizer.tokenizer.sep_token_id)


# ---- sentence-transformers ---------------------------------------------------------------------------------------------


@pytest.fixture
def sentence_folder(dataset_root, tmp_path):
    """Make a sentence-transformers folder of the tiny encoder, with these modules and this pooling."""

    def make(kinds=("Transformer", "Pooling", "Normalize"), **pooling):
        encoder = dataset_root / "synthetic" / "text_encoder"
        for path in encoder.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        paths = ["", "1_Pooling", "2_Last"]
        modules = [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(zip(paths, kinds, strict=False))
        ]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 64, **pooling}))
        return str(tmp_path)

    return make


def test_a_sentence_transformers_folder_is_pooled_and_normalised_as_it_states(sentence_folder):
    folder = sentence_folder(pooling_mode_cls_token=False, pooling_mode_max_tokens=True)
    library, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        states = [library(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in SENTENCES]
    wanted = torch.stack([state.max(dim=0).values / state.max(dim=0).values.norm() for state in states])
    assert_close(pooled(folder, "own"), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "pooling", "message"),
    [
        (
            ("Transformer", "Pooling", "Dense"),
            {"pooling_mode_mean_tokens": True},
            "modules Transformer, Pooling, Dense",
        ),
        (("Transformer", "Pooling"), {"pooling_mode_weightedmean_tokens": True}, "is none of mean, cls"),
        (("Transformer", "Pooling"), {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "is none of"),
    ],
)
def test_modules_that_are_not_read_are_refused(sentence_folder, kinds, pooling, message):
    with pytest.raises(ConfigError, match=message):
        load_encoder(sentence_folder(kinds, **pooling), True, "own")


def test_an_encoder_without_a_vector_of_its_own_is_refused(dataset_root):
    with pytest.raises(ConfigError, match="POOLING is 'own', but .*modules.json.: take 'mean'"):
        load_encoder(str(dataset_root / "synthetic" / "text_encoder"), True, "own")
