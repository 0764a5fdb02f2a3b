"""Products of features as matrices: the paths by 6j symbols, symmetry, the limit of large matrices."""

from __future__ import annotations

import math

import pytest
import torch
from sympy.physics.wigner import wigner_6j
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups import clebsch_gordan, irreps_matrix, random_rotation
from equitools.ops import matrix_product, sphere_tables
from equitools.ops.gaunt import gaunt_tensor_product


def factors(l1: int, l2: int, rows: int = 3, channels: int = 4, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(100 * l1 + l2)
    shapes = ((rows, (l + 1) ** 2, channels) for l in (l1, l2))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def near(a: Tensor, b: Tensor, tolerance: float) -> None:
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= tolerance * max(1e-30, float(b.abs().max()))


def natural(lmax: int) -> str:
    return "+".join(f"{l}{'eo'[l % 2]}" for l in range(lmax + 1))


def coefficients(lmax: int, j: int) -> dict[tuple[int, int, int], float]:
    """Return the coefficient of each path's unit coupling tensor; both halves are sums of these and nothing else."""
    size = (lmax + 1) ** 2
    unit = torch.eye(size, dtype=torch.float64)
    x, y = unit.repeat_interleave(size, 0).unsqueeze(-1), unit.repeat(size, 1).unsqueeze(-1)
    halves = [half.view(size, size, size) for half in matrix_product(x, y, lmax, j=j)]
    found = {}
    for l1 in range(lmax + 1):
        for l2 in range(lmax + 1):
            for l3 in range(lmax + 1):
                block = tuple(slice(l * l, (l + 1) ** 2) for l in (l1, l2, l3))
                odd = (l1 + l2 + l3) % 2
                assert float(halves[1 - odd][block].abs().max()) < 1e-12
                if abs(l1 - l2) <= l3 <= l1 + l2:
                    coupling = clebsch_gordan(l1, l2, l3)
                    value = found[l1, l2, l3] = float((halves[odd][block] * coupling).sum())
                    assert float((halves[odd][block] - value * coupling).abs().max()) < 1e-11
                else:
                    assert float(halves[odd][block].abs().max()) < 1e-12
    return found


@pytest.mark.parametrize("j", [None, 3])
def test_equivariance(j: int | None) -> None:
    x, y = factors(3, 2)
    rotation = random_rotation(generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    d = [irreps_matrix(natural(l), rotation) for l in (3, 2, 4)]
    out = matrix_product(x, y, 4, j=j)
    turned = matrix_product(torch.einsum("ab,nbc->nac", d[0], x), torch.einsum("ab,nbc->nac", d[1], y), 4, j=j)
    parity = [torch.cat([torch.full((2 * l + 1, 1), (-1.0) ** l) for l in range(n + 1)]).double() for n in (3, 2, 4)]
    inverted = matrix_product(parity[0] * x, parity[1] * y, 4, j=j)
    for sign, half, after, mirrored in zip((1, -1), out, turned, inverted, strict=True):
        assert float(half.abs().max()) > 0.1
        near(after, torch.einsum("ab,nbc->nac", d[2], half), 1e-12)
        near(mirrored, sign * parity[2] * half, 1e-12)


@pytest.mark.parametrize(("lmax", "j"), [(2, 1), (3, 2), (5, 3), (5, 4), (6, 3)])
def test_paths(lmax: int, j: int) -> None:
    """As large as the 6j symbols say: √(4π(2l1+1)(2l2+1)(2l3+1)) {…} √((2j+1)/4π)², up to the sign."""
    for (l1, l2, l3), value in coefficients(lmax, j).items():
        symbol = abs(float(wigner_6j(l1, l2, l3, j, j, j)))
        scale = math.sqrt((2 * j + 1) / (4 * math.pi) * (2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1))
        half = 2 * math.sqrt(j * (j + 1)) if (l1 + l2 + l3) % 2 else 1
        assert abs(value) == pytest.approx(half * scale * symbol, abs=1e-12)


def test_the_smallest_matrices_lack_a_path() -> None:
    """6j symbols vanish here and there: of degrees up to 5, one triple with the smallest j, none with the next."""
    missing = {tuple(sorted(path)) for path, value in coefficients(5, 3).items() if abs(value) < 1e-12}
    assert missing == {(3, 5, 5)}
    assert all(abs(value) > 1e-3 for value in coefficients(5, 4).values())


def test_tends_to_gaunt() -> None:
    def distance(j: int) -> float:
        worst = 0.0
        for (l1, l2, l3), value in coefficients(3, j).items():
            odd = (l1 + l2 + l3) % 2
            minus = (l1 + l2) % 2 == 0 and l1 % 2 != odd  # two odd to an even one, two even to an odd one
            exact = sphere_tables.reduced(l1, l2, l3)
            worst = max(worst, abs(value * (-1) ** minus - exact) / abs(exact))
        return worst

    first, second = distance(8), distance(16)
    assert second < 0.05
    assert second < 0.4 * first  # as 1/j²
    x, y = factors(1, 1)
    x[:, 0], y[:, 0] = 0, 0
    for j in (1, 2, 5):
        near(matrix_product(x, y, 1, j=j)[1], gaunt_tensor_product(x, y, 1, curl=True), 1e-12)


def test_one_is_neutral() -> None:
    x, _ = factors(3, 3)
    one = torch.zeros(3, 1, 4, dtype=torch.float64) + math.sqrt(4 * math.pi)
    even, odd = matrix_product(one, x)
    near(even, x, 1e-13)
    assert float(odd.abs().max()) < 1e-13
    near(matrix_product(one, one)[0], one, 1e-13)  # matrices of one number
    near(matrix_product(x, x)[1] + 1, torch.ones_like(x), 1e-12)  # commutes with itself


def test_associative() -> None:
    j = 2
    x, y = factors(4, 4)
    z = x.flip(0) - y

    def product(a: Tensor, b: Tensor) -> Tensor:
        even, odd = matrix_product(a, b, 2 * j, j=j)
        return even + odd / (2 * math.sqrt(j * (j + 1)))

    near(product(product(x, y), z), product(x, product(y, z)), 1e-12)


def test_gradients() -> None:
    x, y = (t[..., :2].clone().requires_grad_() for t in factors(2, 1, rows=2))
    assert torch.autograd.gradcheck(lambda a, b: matrix_product(a, b, 2), (x, y))
    assert torch.autograd.gradgradcheck(lambda a, b: matrix_product(a, b, 2), (x, y))


def test_shapes_and_precision() -> None:
    x, y = factors(2, 2, rows=6)
    even, odd = matrix_product(x, y, 3)
    assert even.shape == odd.shape == (6, 16, 4)
    assert matrix_product(x[:0], y[:0], 3)[0].shape == (0, 16, 4)
    near(matrix_product(x[:1], y[:1], 3)[0], even[:1], 1e-14)
    near(matrix_product(x.view(2, 3, 9, 4), y.view(2, 3, 9, 4), 3)[1].flatten(0, 1), odd, 1e-14)
    near(matrix_product(x, y[..., :1], 3)[0], matrix_product(x, y[..., :1].expand_as(y), 3)[0], 1e-14)
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    near(matrix_product(strided, y, 3)[1], odd, 1e-14)
    for half, exact in zip(matrix_product(x.float(), y.float(), 3), (even, odd), strict=True):
        near(half.double(), exact, 1e-6)


def test_compilers_take_tables_for_constants() -> None:
    x, y = factors(2, 2)
    compiled = torch.compile(matrix_product, backend="aot_eager", fullgraph=True)(x, y)
    for half, exact in zip(compiled, matrix_product(x, y), strict=True):
        near(half, exact, 1e-14)


def test_bad_input() -> None:
    x, y = factors(3, 2)
    with pytest.raises(ShapeError, match="all degrees up to one"):
        matrix_product(x[:, :8], y)
    with pytest.raises(ShapeError, match="integer j from 2 to 16; j = 1"):
        matrix_product(x, y, j=1)
    with pytest.raises(ShapeError, match="j = 17"):
        matrix_product(x, y, j=17)
    with pytest.raises(ShapeError, match="integer j from 17 to 16"):
        matrix_product(x, y, 33)
    with pytest.raises(ShapeError, match="lmax_out = -1"):
        matrix_product(x, y, -1)
    with pytest.raises(ShapeError, match=r"float32 or both float64.*float16"):
        matrix_product(x.half(), y.half())
    with pytest.raises(ShapeError, match="do not fit together"):
        matrix_product(x[:2], y)
