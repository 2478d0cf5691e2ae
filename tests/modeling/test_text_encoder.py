"""Sentence vectors: what they are the mean of, and what they do not depend on."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from mmn.data.tokenizer import QueryTokenizer
from mmn.modeling import build_model
from mmn.modeling.text_encoder import TextEncoder, last_layers, load_encoder
from mmn.solver import set_text_encoder_frozen
from mmn.utils.errors import ConfigError


@pytest.fixture
def encoder(dataset_root):
    bert, size = load_encoder(str(dataset_root / "synthetic" / "text_encoder"), with_weights=True)
    return TextEncoder(bert, size, joint_space_size=6).eval()


@pytest.fixture
def sentences(dataset_root):
    texts = ["A man lifts the box.", "The girl is washing a cup in the kitchen.", "Run"]
    return [torch.from_numpy(ids).long() for ids in QueryTokenizer(str(dataset_root / "synthetic/text_encoder"))(texts)]


def pad(sentences, length):
    tokens = torch.stack([F.pad(ids, [0, length - len(ids)]) for ids in sentences])
    mask = torch.stack([F.pad(torch.ones_like(ids), [0, length - len(ids)]) for ids in sentences])
    return tokens, mask


@torch.no_grad()
def test_vectors_are_projections_of_the_mean_over_all_tokens(encoder, sentences):
    contrastive, iou = encoder(*pad(sentences, max(map(len, sentences))))
    for row, ids in enumerate(sentences):
        hidden = encoder.bert(input_ids=ids[None]).last_hidden_state[0]  # [CLS] and [SEP] are in it
        mean = F.layer_norm(hidden.mean(0), hidden.shape[1:], encoder.layernorm.weight, encoder.layernorm.bias)
        assert_close(iou[row], encoder.fc_out1.weight @ mean + encoder.fc_out1.bias, rtol=1e-4, atol=1e-5)
        assert_close(contrastive[row], encoder.fc_out2.weight @ mean + encoder.fc_out2.bias, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_padding_does_not_matter(encoder, sentences):
    shortest = max(map(len, sentences))
    for short, long in zip(encoder(*pad(sentences, shortest)), encoder(*pad(sentences, shortest + 9)), strict=True):
        assert_close(short, long, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_what_the_padding_holds_does_not_matter(encoder, sentences):
    tokens, mask = pad(sentences, 20)
    other = torch.where(mask.bool(), tokens, 7)
    for clean, dirty in zip(encoder(tokens, mask), encoder(other, mask), strict=True):
        assert_close(clean, dirty, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("epoch, frozen", [(1, True), (2, True), (3, False)])
def test_encoder_is_frozen_up_to_and_including_freeze_bert(tiny_cfg, epoch, frozen):
    tiny_cfg.SOLVER.FREEZE_BERT = 2
    model = build_model(tiny_cfg)
    assert set_text_encoder_frozen(tiny_cfg, model, epoch) is frozen
    assert all(parameter.requires_grad is not frozen for parameter in model.text_encoder.bert.parameters())
    others = [value for name, value in model.named_parameters() if not name.startswith("text_encoder.bert.")]
    assert all(parameter.requires_grad for parameter in others)


def test_dropout_of_a_frozen_encoder_stays_active(tiny_cfg):
    model = build_model(tiny_cfg).train()
    set_text_encoder_frozen(tiny_cfg, model, 0)
    assert any(isinstance(module, torch.nn.Dropout) and module.training for module in model.text_encoder.bert.modules())


def test_weights_are_read_only_where_asked_for(dataset_root):
    folder = str(dataset_root / "synthetic" / "text_encoder")
    (first, _), (second, _) = load_encoder(folder, True), load_encoder(folder, True)
    random, _ = load_encoder(folder, False)
    names = first.state_dict().keys()
    assert all(torch.equal(first.state_dict()[name], second.state_dict()[name]) for name in names)
    assert names == random.state_dict().keys()
    assert not torch.equal(first.get_input_embeddings().weight, random.get_input_embeddings().weight)


def test_half_precision_weights_are_read_as_float32(tmp_path):
    config = DistilBertConfig(vocab_size=20, dim=8, hidden_dim=8, n_layers=1, n_heads=1, max_position_embeddings=16)
    DistilBertModel(config).to(torch.bfloat16).save_pretrained(tmp_path)
    encoder, _ = load_encoder(str(tmp_path), True)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_another_encoder_brings_its_own_width_and_no_pooler(tmp_path):
    config = BertConfig(vocab_size=20, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    encoder, size = load_encoder(str(tmp_path), True)
    assert size == 12
    contrastive, iou = TextEncoder(encoder, size, 6)(torch.tensor([[2, 5, 3]]), torch.ones(1, 3, dtype=torch.int64))
    (contrastive.sum() + iou.sum()).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


# ---- Factors -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_cls_pooling_takes_the_state_of_the_first_token(encoder, sentences):
    first = TextEncoder(encoder.bert, *encoder.layernorm.normalized_shape, 6, pooling="cls").eval()
    _, iou = first(*pad(sentences, max(map(len, sentences))))
    for row, ids in enumerate(sentences):
        state = encoder.bert(input_ids=ids[None]).last_hidden_state[0, 0]
        normal = F.layer_norm(state, state.shape, first.layernorm.weight, first.layernorm.bias)
        assert_close(iou[row], first.fc_out1.weight @ normal + first.fc_out1.bias, rtol=1e-4, atol=1e-5)


def test_shared_head_makes_one_vector_for_both_spaces(encoder, sentences):
    shared = TextEncoder(encoder.bert, *encoder.layernorm.normalized_shape, 6, shared_heads=True).eval()
    contrastive, iou = shared(*pad(sentences, 20))
    assert torch.equal(contrastive, iou)
    assert not any("fc_out2" in name for name in shared.state_dict())


def small_encoder(kind):
    if kind == "bert":
        config = BertConfig(
            hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8, vocab_size=9
        )
        return BertModel(config, add_pooling_layer=False)
    return DistilBertModel(DistilBertConfig(dim=8, n_layers=3, n_heads=2, hidden_dim=8, vocab_size=9))


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("count, trained", [(0, []), (1, ["2"]), (2, ["1", "2"]), (3, ["0", "1", "2"])])
def test_last_layers_are_those_nearest_the_output(kind, count, trained):
    encoder = small_encoder(kind)
    chosen = {id(parameter) for parameter in last_layers(encoder, count)}
    names = {name for name, parameter in encoder.named_parameters() if id(parameter) in chosen}
    wanted = {
        name for name, _ in encoder.named_parameters() if ".layer." in name and name.split(".layer.")[1][0] in trained
    }
    assert names == wanted


def test_minus_one_is_every_parameter():
    encoder = small_encoder("bert")
    assert len(last_layers(encoder, -1)) == len(list(encoder.parameters()))


@pytest.mark.parametrize("count", [-2, 4])
def test_layers_that_the_encoder_does_not_have_are_refused(count):
    with pytest.raises(ConfigError, match=f"TRAIN_LAYERS is {count}, but the text encoder has 3 layers"):
        last_layers(small_encoder("bert"), count)


@pytest.mark.parametrize("epoch, trained", [(2, 0), (3, 1)])
def test_chosen_layers_train_once_the_encoder_is_no_longer_frozen(tiny_cfg, epoch, trained):
    tiny_cfg.MODEL.MMN.TEXT_ENCODER.TRAIN_LAYERS, tiny_cfg.SOLVER.FREEZE_BERT = 1, 2
    model = build_model(tiny_cfg)
    set_text_encoder_frozen(tiny_cfg, model, epoch)
    free = [parameter for parameter in model.text_encoder.bert.parameters() if parameter.requires_grad]
    assert len(free) == trained * len(last_layers(model.text_encoder.bert, 1))
