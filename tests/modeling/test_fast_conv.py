"""The fast convolution stack against the dense definition, which is written out here once more."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from mmn.modeling.fast import FastStack, product_chunks, transformed_weights
from mmn.modeling.fast import onednn as onednn_module
from mmn.modeling.fast.cell_tiling import LayerTiling, TileMap, cover
from mmn.modeling.fast.packed_conv import LayerPlan, batched_linear, forward_products
from mmn.modeling.fast.toom_cook import toom_cook
from mmn.modeling.fast.transformed_weights import StreamedWeights, TransformedWeights
from mmn.modeling.map_conv import MapConv
from mmn.modeling.proposal_conv import ProposalConv
from mmn.structures.proposals import ProposalCells
from mmn.utils.memory import reuse_freed_memory

# num_clips, pooling_counts, kernel_size, num_layers, batch
SHAPES = [
    (8, [3, 2], 3, 2, 1),
    (16, [15], 5, 3, 3),
    (20, [7, 4], 7, 2, 1),
    (16, [7, 2], 9, 1, 3),
    (16, [7], 5, 4, 1),
    (8, [7], 1, 2, 3),
    (20, [3, 2, 2], 3, 4, 2),
]


def build(num_clips, pooling_counts, kernel_size, num_layers, input_size=5, hidden_size=6, dtype=torch.float64):
    """A ProposalConv with all parameters and running statistics away from their initial values, and its fast form."""
    torch.manual_seed(0)
    cells = ProposalCells(num_clips, pooling_counts)
    model = ProposalConv(cells, input_size, hidden_size, kernel_size, num_layers, 4).to(dtype)
    with torch.no_grad():
        for conv, norm in zip(model.convs, model.bn, strict=True):
            conv.bias.normal_(0, 0.3)
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.3)
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return model, fast_form(model)


def fast_form(model: ProposalConv) -> FastStack:
    return FastStack(model.cells.mask, window_weights(model), model.convs[0].kernel_size[0])


def window_weights(model: ProposalConv) -> list[Tensor]:
    return [getattr(model, f"window_weight_{layer}") for layer in range(model.num_layers)]


def dense_features(model: ProposalConv, packed: Tensor) -> Tensor:
    """[B, H_in, M] -> [B, M, H], on whole maps."""
    x = model.cells.to_map(packed)
    for conv, norm, weight in zip(model.convs, model.bn, window_weights(model), strict=True):
        x = norm(conv(x)).relu() * weight
    return model.cells.from_map(x).mT


def random_input(model: ProposalConv, batch: int) -> Tensor:
    weight = model.convs[0].weight
    return torch.randn(batch, weight.shape[1], len(model.cells), dtype=weight.dtype)


def relative_error(value: Tensor, reference: Tensor) -> float:
    scale = reference.abs().max().clamp(min=1e-12)
    return ((value - reference).abs().max() / scale).item()


def gradients(model: nn.Module, features: Tensor, packed: Tensor) -> dict[str, Tensor]:
    """Of a fixed random projection, for the input and every parameter that took part."""
    projection = torch.randn(features.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model.zero_grad()
    packed.grad = None
    (features * projection.to(features)).sum().backward()
    named = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"input": packed.grad, **named}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_features_gradients_and_buffers_equal_the_dense_form(shape, training):
    dense, fast = build(*shape[:4])
    other = copy.deepcopy(dense)
    dense.train(training)
    other.train(training)
    packed = random_input(dense, shape[4]).requires_grad_()

    expected = dense_features(dense, packed)
    expected_gradients = gradients(dense, expected, packed)
    features = fast(packed, other.convs, other.bn)
    fast_gradients = gradients(other, features, packed)

    assert relative_error(features, expected) < 1e-10
    assert fast_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        if training and name.startswith("convs") and name.endswith("bias"):
            # The bias cancels in the batch norm: rounding noise there, exactly zero here.
            assert gradient.abs().max() < 1e-10 and not fast_gradients[name].any()
        else:
            assert relative_error(fast_gradients[name], gradient) < 1e-9, name
    for (name, buffer), (_, reference) in zip(other.named_buffers(), dense.named_buffers(), strict=True):
        torch.testing.assert_close(buffer, reference, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("shape", SHAPES)
def test_inference_without_gradients_equals_the_dense_form(shape):
    model, fast = build(*shape[:4])
    model.eval()
    packed = random_input(model, shape[4])
    with torch.no_grad():
        for batch in (packed, packed[:1], torch.cat([packed, packed])):  # the folded layers serve any batch size
            assert relative_error(fast(batch, model.convs, model.bn), dense_features(model, batch)) < 1e-10


@pytest.mark.parametrize("shape", SHAPES)
def test_stack_without_batch_norm_equals_its_dense_form(shape):
    torch.manual_seed(0)
    num_clips, counts, kernel_size, num_layers, batch = shape
    models = [
        MapConv(ProposalCells(num_clips, counts), 5, 6, kernel_size, num_layers, impl) for impl in ("dense", "fast")
    ]
    dense, fast = (model.double() for model in models)
    fast.load_state_dict(dense.state_dict())
    packed = random_input(dense, batch).requires_grad_()
    expected, features = dense.features(packed), fast.features(packed)
    assert relative_error(features, expected) < 1e-10
    expected_gradients, fast_gradients = gradients(dense, expected, packed), gradients(fast, features, packed)
    assert fast_gradients.keys() == expected_gradients.keys() == {"input", *dict(dense.named_parameters())}
    for name, gradient in expected_gradients.items():
        assert relative_error(fast_gradients[name], gradient) < 1e-9, name
    with torch.no_grad():
        assert relative_error(fast.features(packed), expected) < 1e-10


def test_training_mode_without_gradients_uses_and_updates_batch_statistics():
    dense, fast = build(*SHAPES[1][:4])
    other = copy.deepcopy(dense)
    packed = random_input(dense, 2)
    with torch.no_grad():
        for _ in range(2):
            assert relative_error(fast(packed, other.convs, other.bn), dense_features(dense, packed)) < 1e-10
    assert other.bn[0].num_batches_tracked == 2
    for buffer, reference in zip(other.buffers(), dense.buffers(), strict=True):
        torch.testing.assert_close(buffer, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", ["momentum", "untracked", "frozen first", "no momentum"])
def test_batch_norm_options(case):
    dense, _ = build(*SHAPES[1][:4])
    for norm in dense.bn:
        if case == "momentum":
            norm.momentum = 0.3
        elif case == "no momentum":
            norm.momentum = None
        elif case == "untracked":
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    dense.train(case != "untracked")
    if case == "frozen first":
        dense.bn[0].eval()
    other = copy.deepcopy(dense)
    fast = fast_form(other)
    packed = random_input(dense, 2)
    with torch.no_grad():
        for scale in (1, 2, 3):
            expected = dense_features(dense, packed * scale)
            assert relative_error(fast(packed * scale, other.convs, other.bn), expected) < 1e-10
    for buffer, reference in zip(other.buffers(), dense.buffers(), strict=True):
        torch.testing.assert_close(buffer, reference, rtol=1e-10, atol=1e-12)


def change_by_optimizer(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def change_by_loading(model):
    model.load_state_dict({name: value * 1.5 for name, value in model.state_dict().items()})


def change_running_statistics(model):
    model.bn[1].running_var.mul_(2)


def change_data(model):
    model.convs[1].weight.data.mul_(2)


def change_parameter(model):
    model.convs[0].weight = nn.Parameter(model.convs[0].weight.detach() * 2)


CHANGES = [change_by_optimizer, change_by_loading, change_running_statistics, change_data, change_parameter]


@pytest.mark.parametrize("change", CHANGES)
def test_folded_weights_follow_every_change_of_the_state(change):
    model, fast = build(*SHAPES[1][:4])
    model.eval()
    packed = random_input(model, 2)
    with torch.no_grad():
        before = fast(packed, model.convs, model.bn)
    change(model)
    with torch.no_grad():
        after, expected = fast(packed, model.convs, model.bn), dense_features(model, packed)
    assert relative_error(before, expected) > 1e-3
    assert relative_error(after, expected) < 1e-10


def test_folded_weights_are_kept_while_nothing_changes(monkeypatch):
    model, fast = build(*SHAPES[1][:4])
    model.eval()
    packed = random_input(model, 2)
    with torch.no_grad():
        first = fast(packed, model.convs, model.bn)
        monkeypatch.setattr(FastStack, "_fold", lambda *_: pytest.fail("weights were transformed again"))
        assert torch.equal(fast(packed, model.convs, model.bn), first)


def test_change_of_dtype():
    model, fast = build(*SHAPES[1][:4])
    model.eval()
    packed = random_input(model, 2)
    with torch.no_grad():
        expected = fast(packed, model.convs, model.bn)
        model.float()
        features = fast(packed.float(), model.convs, model.bn)
        assert features.dtype == torch.float32 and relative_error(features.double(), expected) < 1e-5
        model.double()
        assert relative_error(fast(packed, model.convs, model.bn), expected) < 1e-5


@pytest.mark.parametrize("training", [True, False])
def test_autocast_computes_in_float32(training):
    model, fast = build(*SHAPES[1][:4], dtype=torch.float32)
    model.train(training)
    packed = random_input(model, 2).requires_grad_()
    plain = fast(packed, model.convs, model.bn)
    expected = gradients(model, plain, packed)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = fast(packed.bfloat16(), model.convs, model.bn)
        assert features.dtype == torch.float32
        assert relative_error(features, fast(packed.bfloat16().float(), model.convs, model.bn)) < 1e-5
        features = fast(packed, model.convs, model.bn)
        result = gradients(model, features, packed)
    assert all(relative_error(result[name], gradient) < 1e-5 for name, gradient in expected.items() if gradient.any())


def test_gradients_after_inference_mode():
    model, fast = build(*SHAPES[1][:4])
    model.eval()
    packed = random_input(model, 2)
    with torch.inference_mode():
        expected = fast(packed, model.convs, model.bn).clone()
    features = fast(packed, model.convs, model.bn)
    features.sum().backward()
    assert relative_error(features, expected) < 1e-10 and model.convs[0].weight.grad.any()


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_work_and_are_independent(copier):
    model, fast = build(*SHAPES[1][:4], dtype=torch.float32)
    model.eval()
    packed = random_input(model, 2)
    with torch.no_grad():
        expected = fast(packed, model.convs, model.bn)
        twin, fast_twin = copier((model, fast))
        twin.convs[0].weight.mul_(2)
        assert relative_error(fast_twin(packed, twin.convs, twin.bn), dense_features(twin, packed)) < 1e-5
        assert torch.equal(fast(packed, model.convs, model.bn), expected)


@pytest.mark.parametrize(("kernel_size", "num_layers", "batch"), [(5, 4, 4), (9, 2, 2)])
def test_float32_accuracy_at_64_channels(kernel_size, num_layers, batch):
    """No ReLU: one value near zero that changes its sign moves gradients by more than all rounding together."""
    reference, _ = build(16, [15], kernel_size, num_layers, 64, 64)
    for norm in reference.bn:
        nn.init.constant_(norm.bias, 8.0)  # all normalised values are positive
    model = copy.deepcopy(reference).float()
    fast = fast_form(model)
    packed = random_input(reference, batch).requires_grad_()
    expected = dense_features(reference, packed)
    expected_gradients = gradients(reference, expected, packed)
    single = packed.detach().float().requires_grad_()
    features = fast(single, model.convs, model.bn)
    result = gradients(model, features, single)
    assert relative_error(features, expected) < 1e-5
    for name, gradient in expected_gradients.items():
        if not (name.startswith("convs") and name.endswith("bias")):
            assert relative_error(result[name], gradient) < 2e-5, name
    model.eval()
    reference.eval()
    with torch.no_grad():
        assert relative_error(fast(single, model.convs, model.bn), dense_features(reference, packed)) < 1e-5


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 12), st.integers(1, 6))
def test_cover_owns_every_cell_once(data, height, width, size):
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = torch.tensor(bits).view(height, width)
    owners = torch.zeros(height + size, width + size, dtype=torch.int64)
    for tile in cover(mask, size):
        assert 1 <= tile.height <= size
        owners[tile.row : tile.row + tile.height, tile.col : tile.col + size] += 1
    assert (owners[:height, :width][mask] == 1).all()
    assert owners.max() <= 1
    # No more than the tiles of the plain grid that hold a cell.
    padded = F.pad(mask.float(), (0, -width % size, 0, -height % size))
    assert len(cover(mask, size)) <= int(F.max_pool2d(padded[None, None], size).sum())


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(["winograd4", "winograd6", "winograd8", "fft8", "fft9", "mixed8", "mixed10"]))
def test_one_layer_on_any_cells(data, name):
    """Any set of input and output cells, not only those of proposal maps, both directions, every kind of points."""
    kernel_size = data.draw(st.sampled_from([1, 3] if name == "winograd4" else [1, 3, 5]))
    size, seed = data.draw(st.integers(1, 9)) + kernel_size - 1, data.draw(st.integers(0, 99))
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(size, size, generator=generator) < data.draw(st.sampled_from([0.1, 0.5, 1.0]))
    outputs = torch.rand(size - kernel_size + 1, size - kernel_size + 1, generator=generator) < 0.6
    inputs[0, 0] = outputs[0, 0] = True
    algorithm = toom_cook(name, kernel_size)
    tiling = LayerTiling(inputs, outputs, kernel_size, algorithm.tile_size)
    if tiling.overlap_add:
        algorithm = algorithm.transposed()
    weight = torch.randn(2, 3, kernel_size, kernel_size, generator=generator, dtype=torch.float64)
    cells = torch.randn(int(inputs.sum()), 2, 3, generator=generator, dtype=torch.float64)
    dense = torch.zeros(2, 3, size, size, dtype=torch.float64)
    dense[:, :, inputs] = cells.permute(1, 2, 0)
    expected = F.conv2d(dense, weight)[:, :, outputs].permute(2, 0, 1)
    padded = torch.cat([cells, cells.new_zeros(1, 2, 3)])
    transformed = TransformedWeights(weight, algorithm, rows=2)
    result = forward_products(padded, LayerPlan(tiling, algorithm), 2, transformed)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)


def test_scatter_is_the_transpose_of_gather():
    mask = torch.rand(7, 7, generator=torch.Generator().manual_seed(0)) < 0.6
    tiles = TileMap(mask, cover(mask, 3), 5, 1, owned=False)
    cells = torch.randn(int(mask.sum()) + 1, 4, dtype=torch.float64)
    cells[-1] = 0
    elements = torch.randn(5, 5, tiles.num_tiles, 4, dtype=torch.float64)
    gathered = torch.stack([tiles.gather_column(cells, column) for column in range(5)], 1)
    torch.testing.assert_close((gathered * elements).sum(), (cells[:-1] * tiles.scatter(elements)).sum())


@pytest.mark.parametrize("chunk_bytes", [1, 4096])
def test_results_do_not_depend_on_the_chunks(monkeypatch, chunk_bytes):
    model, fast = build(*SHAPES[1][:4])
    packed = random_input(model, 2).requires_grad_()
    expected = gradients(model, fast(packed, model.convs, model.bn), packed)
    monkeypatch.setattr(product_chunks, "CHUNK_BYTES", {"default": chunk_bytes})
    result = gradients(model, fast(packed, model.convs, model.bn), packed)
    assert all(relative_error(result[name], value) < 1e-10 for name, value in expected.items() if value.any())


def test_components_of_weights_are_given_back_before_the_next_ones_are_made(monkeypatch):
    weights, held = StreamedWeights(torch.randn(4, 4, 3, 3).double(), toom_cook("mixed12", 3)), []

    def making(*args):
        held.append(weights._components.untyped_storage().nbytes())
        return make(*args)

    make = transformed_weights.weight_components
    monkeypatch.setattr(transformed_weights, "weight_components", making)
    for chunk in product_chunks.chunks(
        weights.algorithm.blocks, product_chunks.CHUNK_BYTES["cpu"], torch.device("cpu")
    ):
        weights(chunk)
    assert held == [0, 0]


@pytest.mark.parametrize("onednn", [True, False])
def test_float32_products_with_and_without_onednn(monkeypatch, onednn):
    if onednn and not onednn_module.has_onednn_linear():
        pytest.skip("this torch has no oneDNN linear")
    monkeypatch.setattr(onednn_module, "has_onednn_linear", lambda: onednn)
    monkeypatch.setattr(onednn_module, "has_fast_mkl", lambda: False)
    monkeypatch.setattr(onednn_module, "MIN_WEIGHTS", 1)
    inputs, weights = torch.randn(3, 70, 8), torch.randn(3, 8, 5)
    out = torch.empty(3, 70, 5)
    batched_linear(inputs, weights, out)
    torch.testing.assert_close(out, torch.einsum("qri,qio->qro", inputs, weights))
    model, fast = build(*SHAPES[1][:4], dtype=torch.float32)
    model.eval()
    packed = random_input(model, 9)
    with torch.no_grad():
        assert relative_error(fast(packed, model.convs, model.bn), dense_features(model, packed)) < 1e-5
    model.train()
    packed.requires_grad_()
    expected = gradients(model, dense_features(model, packed), packed)
    result = gradients(model, fast(packed, model.convs, model.bn), packed)
    for name, gradient in expected.items():
        assert name.endswith("bias") or relative_error(result[name], gradient) < 1e-4, name


def test_the_estimate_prefers_fast_at_released_widths_and_dense_at_tiny_ones():
    wide = [nn.Conv2d(512, 512, 5, device="meta") for _ in range(8)]
    tiny = [nn.Conv2d(2, 2, 5, device="meta") for _ in range(8)]
    model, fast = build(16, [15], 5, 8)
    for training in (True, False):
        assert fast.prefers_fast(wide, model.bn, 8, training)
        assert not fast.prefers_fast(tiny, model.bn, 1, training)


def test_memory_setting_answers_whether_it_took_effect():
    assert reuse_freed_memory() in (True, False)
