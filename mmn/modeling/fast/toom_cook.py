"""Fast correlation of short sequences and of tiles: y = A^T[(G w) * (B x)] (Toom-Cook, Winograd and FFT in one).

Mathematics
-----------
Two polynomials w (degree k - 1) and v (degree t - 1) are multiplied by evaluating both at n = t + k - 1 points,
multiplying the n pairs of values, and interpolating: with the Vandermonde matrices V_k [n, k] and V_t [n, t] of the
points and the inverse U = V_n^-1, coefficient i of the product is the sum over q of U[i, q] (V_k w)_q (V_t v)_q. So

    sum over q of U[i, q] V_k[q, a] V_t[q, o] = 1 where i = o + a, else 0.

Read with v as the given side this is the full convolution; read with i as the given side it is the valid correlation
y_o = sum over a of w_a x_{o+a}, o < t, which is what a convolution layer computes on n inputs:

    y = V_t^T [(V_k w) * (U^T x)], so G = V_k transforms the weight, B = U^T the input, and A^T = V_t^T gives the output.

n products replace k t. The points decide cost and accuracy. Small integers, their inverses and infinity (whose row
of V picks the highest coefficient) keep everything real: Winograd's F(t, k), cheapest and least accurate. The n-th
roots of unity make V a discrete Fourier transform: U = conj(V)^T / n, perfectly conditioned. They come in conjugate
pairs, of which real data needs one; its complex product takes three real products (Gauss):

    (a + ib)(c + id):  k1 = c (a + b),  k2 = a (d - c),  k3 = b (c + d);  real k1 - k3, imaginary k1 + k2.

In two dimensions one dimension is transformed first. A real point there leaves a real sequence for the second.
A conjugate pair leaves a complex one, which needs all n points of the second dimension, three real products each.
With r real points and c pairs (n = r + 2c) that makes r^2 + 6rc + 6c^2 real products in place of k^2 t^2. Every
product is a matrix product over channels, [tiles, C_in] x [C_in, C_out]; all transforms are real matrices multiplied
from the left onto [points, everything else], so that neither transposes nor complex tensors occur.
"""

import cmath
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

INFINITY = float("inf")

WINOGRAD_POINTS = (0.0, INFINITY, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
"""Real points, in the order in which they are added as more are needed."""

MIXED_RADIUS = 1.35
"""Radius of the real points of mixed algorithms: the most accurate of those tried (1.2 to 3), in float32 for k = 5."""


@dataclass(frozen=True)
class Block:
    """The second dimension for one point (p = 1) or conjugate pair (p = 2) of the first, with q real products.

    Attributes:
        first: index of the first of the p components among all n components of the first dimension.
        components: p.
        weight_transform: [q, p * k], G above for this dimension.
        input_transform: [q, p * input side], B.
        output_transform: [p * output side, q], A^T.
    """

    first: int
    components: int
    weight_transform: Tensor
    input_transform: Tensor
    output_transform: Tensor

    @property
    def rows(self) -> slice:
        """Places of its components among those of the first dimension."""
        return slice(self.first, self.first + self.components)


@dataclass(frozen=True)
class ToomCook:
    """A two-dimensional algorithm: matrices of the first dimension, then one `Block` per point of it.

    Attributes:
        name: as in `algorithm_points`; equal names and sizes mean equal matrices.
        kernel_size, tile_size: k, t.
        weight_transform: [n, k], G above for the first dimension.
        input_transform: [n, input side], B.
        output_transform: [output side, n], A^T.
        blocks: the second dimension.
    """

    name: str
    kernel_size: int
    tile_size: int
    weight_transform: Tensor
    input_transform: Tensor
    output_transform: Tensor
    blocks: tuple[Block, ...]

    @property
    def num_products(self) -> int:
        """Matrix products over channels per tile."""
        return sum(len(block.weight_transform) for block in self.blocks)

    def transposed(self) -> "ToomCook":
        """The algorithm from t x t inputs to n x n outputs, o = i - a + k - 1: the full correlation of a tile.

        By the identity above the roles of x and y are exchanged, and the taps of w are reversed.
        """
        blocks = tuple(
            replace(
                block,
                weight_transform=_reverse_taps(block),
                input_transform=block.output_transform.T,
                output_transform=block.input_transform.T,
            )
            for block in self.blocks
        )
        return replace(
            self,
            name=self.name + "-transposed",
            weight_transform=self.weight_transform.flip(1),
            input_transform=self.output_transform.T,
            output_transform=self.input_transform.T,
            blocks=blocks,
        )

    def to(self, like: Tensor) -> "ToomCook":
        """The matrices in the dtype and on the device of `like`."""
        blocks = tuple(replace(block, **_matrices_like(block, like)) for block in self.blocks)
        return replace(self, blocks=blocks, **_matrices_like(self, like))


def _matrices_like(part: Block | ToomCook, like: Tensor) -> dict[str, Any]:
    """The three matrices in the dtype and on the device of `like`, by their names."""
    names = ("weight_transform", "input_transform", "output_transform")
    return {name: getattr(part, name).to(like) for name in names}


def _reverse_taps(block: Block) -> Tensor:
    return block.weight_transform.unflatten(1, (block.components, -1)).flip(2).flatten(1)


def roots_of_unity(order: int) -> tuple[list[float], list[complex]]:
    """The real ones, and one of each conjugate pair."""
    real = [1.0] if order % 2 else [1.0, -1.0]
    return real, [cmath.exp(2j * cmath.pi * power / order) for power in range(1, (order + 1) // 2)]


def algorithm_points(name: str) -> tuple[list[float], list[complex]]:
    """The points of a named algorithm with n points: (real points, one of each conjugate pair).

    * `winograd<n>`, n <= 8: all real.
    * `fft<n>`: the n-th roots of unity.
    * `mixed<n>`, n even: the roots of unity of order n - 4 with +-1 moved apart to +-r, +-1/r, then 0 and infinity.
      As accurate as the FFT, with fewer products as more points are real.
    """
    kind, order = name.rstrip("0123456789"), int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))
    if kind == "winograd":
        return list(WINOGRAD_POINTS[:order]), []
    if kind == "fft":
        return roots_of_unity(order)
    _, pairs = roots_of_unity(order - 4)
    return [0.0, INFINITY, MIXED_RADIUS, -MIXED_RADIUS, 1 / MIXED_RADIUS, -1 / MIXED_RADIUS], pairs


def toom_cook(name: str, kernel_size: int) -> ToomCook:
    """The valid correlation of n x n inputs with k x k weights to t x t outputs, float64 matrices.

    >>> algorithm = toom_cook("winograd4", 3)
    >>> algorithm.tile_size, algorithm.num_products
    (2, 16)
    """
    real, pairs = algorithm_points(name)
    num_points, num_real = len(real) + 2 * len(pairs), len(real)
    tile_size = num_points - kernel_size + 1
    points = [*real, *pairs, *(pair.conjugate() for pair in pairs)]
    line = OneDimension(
        num_real,
        len(pairs),
        weight_powers=_vandermonde(points, kernel_size),
        inverse=torch.linalg.inv(_vandermonde(points, num_points)).T,
        output_powers=_vandermonde(points, tile_size),
    )
    blocks = [_real_block(row, line) for row in range(num_real)]
    blocks += [_complex_block(num_real + 2 * pair, line) for pair in range(len(pairs))]
    # A pair counts for two points, which are conjugate: the sum over both is twice the real part.
    output_rows = torch.cat(
        [line.output_powers[line.real].real, _interleave(2 * line.output_powers[line.pairs].conj())]
    )
    return ToomCook(
        name=name,
        kernel_size=kernel_size,
        tile_size=tile_size,
        weight_transform=torch.cat([line.weight_powers[line.real].real, _interleave(line.weight_powers[line.pairs])]),
        input_transform=torch.cat([line.inverse[line.real].real, _interleave(line.inverse[line.pairs])]),
        output_transform=output_rows.T.contiguous(),
        blocks=tuple(blocks),
    )


class OneDimension(NamedTuple):
    """The matrices of one dimension, complex128: real points, one of each conjugate pair, the other one of each.

    Attributes:
        num_real, num_pairs: r, c.
        weight_powers: V_k [n, k].
        inverse: U^T [n, n].
        output_powers: V_t [n, t].
    """

    num_real: int
    num_pairs: int
    weight_powers: Tensor
    inverse: Tensor
    output_powers: Tensor

    @property
    def real(self) -> slice:
        """The rows of the real points."""
        return slice(0, self.num_real)

    @property
    def pairs(self) -> slice:
        """The rows of one point of each conjugate pair."""
        return slice(self.num_real, self.num_real + self.num_pairs)


def _vandermonde(points: list[complex], degree: int) -> Tensor:
    """[points, degree] complex128 powers; infinity picks the highest."""
    powers = torch.zeros(len(points), degree, dtype=torch.complex128)
    for row, point in enumerate(points):
        if point == INFINITY:
            powers[row, -1] = 1
        else:
            powers[row] = torch.tensor([point**power for power in range(degree)], dtype=torch.complex128)
    return powers


def _interleave(matrix: Tensor) -> Tensor:
    """Complex [m, n] -> real [2m, n]: real part and imaginary part of each row in turn."""
    return torch.stack([matrix.real, matrix.imag], 1).flatten(0, 1)


def _three_inputs(real: Tensor, imag: Tensor) -> Tensor:
    """Rows a + b, a, b of each complex number."""
    return torch.stack([real + imag, real, imag], 1).flatten(0, 1)


def _three_weights(real: Tensor, imag: Tensor) -> Tensor:
    """Rows c, d - c, c + d of each complex number."""
    return torch.stack([real, imag - real, real + imag], 1).flatten(0, 1)


def _three_outputs(real: Tensor, imag: Tensor) -> Tensor:
    """Columns that apply `real` and `imag` [side, m] to k1 - k3 and k1 + k2 of each complex number."""
    return torch.stack([real + imag, imag, -real], 2).flatten(1)


def _real_block(row: int, line: OneDimension) -> Block:
    """Real sequences in the second dimension: real points, and one of each conjugate pair."""
    weight, inverse = line.weight_powers[line.pairs], line.inverse[line.pairs]
    twice = 2 * line.output_powers[line.pairs].T
    return Block(
        first=row,
        components=1,
        weight_transform=torch.cat([line.weight_powers[line.real].real, _three_weights(weight.real, weight.imag)]),
        input_transform=torch.cat([line.inverse[line.real].real, _three_inputs(inverse.real, inverse.imag)]),
        output_transform=torch.cat(
            [line.output_powers[line.real].real.T, _three_outputs(twice.real, -twice.imag)], dim=1
        ),
    )


def _complex_block(first: int, line: OneDimension) -> Block:
    """Complex sequences (p = 2: real part, imaginary part) in the second dimension: all points."""

    def real_form(matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Rows that give the real and the imaginary part of matrix @ (re + i im)."""
        return torch.cat([matrix.real, -matrix.imag], 1), torch.cat([matrix.imag, matrix.real], 1)

    output = line.output_powers.T
    # Real part of the output: Re * Re(Y) - Im * Im(Y); imaginary part: Im * Re(Y) + Re * Im(Y).
    output_rows = [_three_outputs(output.real, -output.imag), _three_outputs(output.imag, output.real)]
    return Block(
        first=first,
        components=2,
        weight_transform=_three_weights(*real_form(line.weight_powers)),
        input_transform=_three_inputs(*real_form(line.inverse)),
        output_transform=torch.cat(output_rows),
    )
