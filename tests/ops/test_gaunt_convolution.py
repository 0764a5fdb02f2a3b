"""Gaunt products with functions of an edge: in the edge's frame, and on the grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError
from equitools.groups import irreps_matrix, random_rotation
from equitools.ops import (
    edge_frames,
    gaunt_convolution,
    gaunt_tensor_product,
    so2_tables,
    sphere_tables,
    spherical_harmonics,
    use_backend,
)
from equitools.ops.gaunt_conv import GAUNT_CONVOLUTION_METHODS, gaunt_convolution_method

#: Both poles, next to a pole, the borders of the formulas of the frames, no direction.
SPECIAL = [[0, 1, 0], [0, -1, 0], [1e-8, -1, 1e-8], [0, 0, 1], [-1, 0, 0], [0, -1, 1], [1, 1, 0], [0, 0, 0]]
SHAPES = [(1, 1), (0, 1), (1, 4), (0, 4)]  # of the weights: 0 is replaced by the number of edges


def edges(count: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    random = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.cat([2 * random, torch.tensor(SPECIAL, dtype=torch.float64)]).to(dtype)


def inputs(
    l1: int, l2: int, shape: tuple[int, int] = (0, 4), count: int = 12, channels: int = 4
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(10 * l1 + l2)
    x = torch.randn(count, (l1 + 1) ** 2, channels, generator=generator, dtype=torch.float64)
    return x, torch.randn(shape[0] or count, l2 + 1, shape[1], generator=generator, dtype=torch.float64)


def oracle(x: Tensor, vectors: Tensor, weight: Tensor, lmax: int, curl: bool) -> Tensor:
    """The product with the filter's coefficients by the dense tensor."""
    harmonics = spherical_harmonics(weight.shape[1] - 1, vectors, normalization="integral")
    filters = torch.cat(
        [
            harmonics[:, l * l : (l + 1) ** 2, None] * weight[:, l : l + 1].expand(len(x), 1, weight.shape[2])
            for l in range(weight.shape[1])
        ],
        1,
    )
    return gaunt_tensor_product(x, filters, lmax, curl=curl, method="dense")


def near(a: Tensor, b: Tensor, tolerance: float) -> None:
    assert a.shape == b.shape
    a, b = a.detach(), b.detach()
    assert float((a - b).abs().max()) <= tolerance * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("method", ["pole", "grid", "auto"])
@pytest.mark.parametrize("curl", [False, True])
@pytest.mark.parametrize(
    "degrees", [(0, 0, 0), (1, 1, 1), (3, 2, 4), (0, 3, 2), (3, 0, 3), (2, 3, 0), (2, 5, 3), (8, 8, 8)]
)
def test_equals_gaunt_product(method: str, curl: bool, degrees: tuple[int, int, int]) -> None:
    l1, l2, l3 = degrees
    for shape in SHAPES:
        x, weight = inputs(l1, l2, shape)
        exact = oracle(x, edges(), weight, l3, curl)
        near(gaunt_convolution(x, edges(), weight, l3, curl=curl, method=method), exact, 1e-11)
        with use_backend("reference"):
            near(gaunt_convolution(x, edges(), weight, l3, curl=curl, method=method), exact, 1e-11)


def test_rings_and_matrices_are_one() -> None:
    """The sum over rings is the integral of three harmonics: the matrices have it from the coupling coefficients."""
    for curl in (False, True):
        for l1, l2, l3 in ((3, 2, 4), (4, 4, 1), (0, 3, 3)):
            values, *transforms = so2_tables.rings(l1, l2, l3, curl)
            flat, start = so2_tables.zonal_matrices(l1, l2, l3, curl), 0
            for m in range(min(l1, l3) + 1):
                shape = (l3 + 1 - m, l1 + 1 - m)
                block = flat[:, start : start + shape[0] * shape[1]].reshape(-1, *shape)
                start += shape[0] * shape[1]
                if m or not curl:
                    synthesis, analysis = transforms[2 * m : 2 * m + 2]
                    np.testing.assert_allclose(
                        np.einsum("kt,tf,tl->fkl", analysis, values, synthesis), block, atol=1e-13
                    )
            assert start == flat.shape[1]


@pytest.mark.parametrize("method", ["pole", "grid"])
@pytest.mark.parametrize("curl", [False, True])
@pytest.mark.parametrize("improper", [False, True])
def test_equivariance(method: str, curl: bool, improper: bool) -> None:
    rotation = random_rotation(generator=torch.Generator().manual_seed(3)) * (-1 if improper else 1)
    d = [irreps_matrix("+".join(f"{l}{'eo'[l % 2]}" for l in range(n + 1)), rotation) for n in (3, 4)]
    for shape in SHAPES[1::2]:
        x, weight = inputs(3, 2, shape)
        out = gaunt_convolution(x, edges(), weight, 4, curl=curl, method=method)
        turned = gaunt_convolution(d[0] @ x, edges() @ rotation.T, weight, 4, curl=curl, method=method)
        near(turned, (-1 if curl and improper else 1) * (d[1] @ out), 1e-12)
        assert float(out.abs().max()) > 0.1


def test_the_vectors_length_does_not_matter() -> None:
    x, weight = inputs(2, 2)
    for method in ("pole", "grid"):
        long = gaunt_convolution(x, 1e6 * edges(), weight, method=method)
        near(gaunt_convolution(x, edges(), weight, method=method), long, 1e-13)


@pytest.mark.parametrize("curl", [False, True])
@pytest.mark.parametrize("shape", [(0, 1), (0, 2)])
def test_smooth_everywhere(curl: bool, shape: tuple[int, int]) -> None:
    """Derivatives to second order by all arguments: finite differences, and the grid's."""
    vectors = edges(1)[:-1]  # at a vector of length zero the product is not continuous
    x, weight = inputs(2, 2, shape, count=len(vectors), channels=2)
    arguments = [t.requires_grad_() for t in (x, vectors, weight)]

    def function(method: str, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
        return gaunt_convolution(x, v, w, 2, curl=curl, method=method)

    # Where a formula of the frames ends, both hold: the differences across it see nothing.
    assert torch.autograd.gradcheck(lambda *a: function("pole", *a), arguments, atol=1e-7)
    assert torch.autograd.gradgradcheck(lambda *a: function("pole", *a), arguments, atol=1e-6)
    found = []
    for method in ("pole", "grid"):
        first = torch.autograd.grad(function(method, *arguments).pow(3).sum(), arguments, create_graph=True)
        found.append([*first, *torch.autograd.grad(sum(g.square().sum() for g in first), arguments)])
    for a, b in zip(*found, strict=True):
        near(a, b, 1e-11)


@pytest.mark.parametrize("method", ["pole", "grid"])
def test_no_direction(method: str) -> None:
    """Degree 0 is left of the filter, and derivatives by the vector are zero."""
    vectors = torch.zeros(3, 3, dtype=torch.float64).requires_grad_()
    x, weight = inputs(2, 2, (0, 4), count=3)
    out = gaunt_convolution(x, vectors, weight, method=method)
    near(out, x * weight[:, :1] / (4 * math.pi), 1e-13)
    assert float(gaunt_convolution(x, vectors, weight, method=method, curl=True).abs().max()) < 1e-13
    (first,) = torch.autograd.grad(out.pow(2).sum(), vectors, create_graph=True)
    assert float(first.abs().max()) == 0.0
    if first.requires_grad:
        (second,) = torch.autograd.grad(first.sum(), vectors, allow_unused=True)
        assert second is None or float(second.abs().max()) == 0.0


@pytest.mark.parametrize(("lmax", "tolerance"), [(2, 2e-6), (6, 5e-6), (10, 1e-5)])
@pytest.mark.parametrize("shape", [(0, 1), (0, 4)])
def test_single_precision(lmax: int, tolerance: float, shape: tuple[int, int]) -> None:
    x, weight = inputs(lmax, lmax, shape)
    vectors = edges(dtype=torch.float32)
    for curl in (False, True):
        exact = oracle(x.float().double(), vectors.double(), weight.float().double(), lmax, curl)
        found = gaunt_convolution(x.float(), vectors, weight.float(), curl=curl, method="pole")
        assert found.dtype == torch.float32
        near(found.double(), exact, tolerance)


def test_frames_are_shared() -> None:
    x, weight = inputs(3, 2)
    exact = gaunt_convolution(x, edges(), weight, 2, method="pole")
    near(gaunt_convolution(x, edges(), weight, 2, method="pole", frames=edge_frames(edges(), 5)), exact, 1e-13)
    near(gaunt_convolution(x, edges(), weight, 2, method="pole", frames=edge_frames(edges(), 3, 2)), exact, 1e-13)
    with pytest.raises(ShapeError, match="end at 1"):
        gaunt_convolution(x, edges(), weight, 2, method="pole", frames=edge_frames(edges(), 3, 1))
    for few, lmax_out in ((2, 2), (3, 4)):  # too few degrees for the features, and for the product
        with pytest.raises(ShapeError, match=f"up to {max(3, lmax_out)}; those given end at {few}"):
            gaunt_convolution(x, edges(), weight, lmax_out, method="pole", frames=edge_frames(edges(), few))


def test_rows_of_any_number_and_strides() -> None:
    for count in (0, 1):
        for shape in SHAPES:
            x, weight = inputs(2, 1, shape, count=count)
            for method in ("pole", "grid"):
                assert gaunt_convolution(x, edges()[:count], weight[:count] if shape[0] == 0 else weight, 3,
                                         method=method).shape == (count, 16, 4)  # fmt: skip
    x, weight = inputs(3, 2)
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    near(gaunt_convolution(strided, edges(), weight, method="pole"), gaunt_convolution(x, edges(), weight), 1e-13)


@pytest.mark.parametrize("shape", SHAPES[2:], ids=str)
@pytest.mark.parametrize("method", ["pole", "grid"])
def test_compilers(method: str, shape: tuple[int, int]) -> None:
    """One graph for value and gradients, and an exported program."""
    x, weight = inputs(2, 1, shape)
    given = [t.requires_grad_() for t in (x, edges()[:-1], weight)]
    given[0] = x[:-1].detach().requires_grad_()
    given[2] = (weight if shape[0] else weight[:-1]).detach().requires_grad_()

    class Module(torch.nn.Module):
        def forward(self, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
            return gaunt_convolution(x, v, w, 3, curl=True, method=method)

    eager, compiled = (f(*given) for f in (Module(), torch.compile(Module(), backend="aot_eager", fullgraph=True)))
    near(compiled, eager, 1e-13)
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), given) for out in (compiled, eager)), strict=True):
        near(a, b, 1e-11)
    plain = tuple(t.detach() for t in given)
    near(torch.export.export(Module(), plain).module()(*plain), eager, 1e-13)


def test_zonal_matrices_are_those_of_the_dense_tensor() -> None:
    for curl in (False, True):
        for l1, l2, l3 in ((3, 2, 4), (4, 4, 1), (0, 3, 3), (0, 0, 2)):
            table, start = sphere_tables.dense(l1, l2, l3, curl), 0
            flat = so2_tables.zonal_matrices(l1, l2, l3, curl)
            for m in range(min(l1, l3) + 1):
                source = [l * l + l + m for l in range(m, l1 + 1)]
                target = [l * l + l + (-m if curl else m) for l in range(m, l3 + 1)]
                block = table[np.ix_(source, [l * l + l for l in range(l2 + 1)], target)].transpose(1, 2, 0)
                block = block * np.sqrt((2 * np.arange(l2 + 1) + 1) / (4 * math.pi))[:, None, None]
                size = block[0].size
                np.testing.assert_allclose(flat[:, start : start + size], block.reshape(l2 + 1, -1), atol=1e-15)
                start += size
            assert start == flat.shape[1]


def test_what_auto_takes() -> None:
    x = torch.zeros(1, 4, 1)
    assert gaunt_convolution_method(x) in GAUNT_CONVOLUTION_METHODS[1:]
    with use_backend("reference"):
        assert gaunt_convolution_method(x) == "pole"


def test_bad_input() -> None:
    x, weight = inputs(2, 1)
    vectors = edges()
    with pytest.raises(ShapeError, match="all degrees up to one"):
        gaunt_convolution(x[:, :8], vectors, weight)
    with pytest.raises(ShapeError, match="all degrees up to one"):
        gaunt_convolution(x[0], vectors, weight)
    with pytest.raises(ShapeError, match="vectors must be"):
        gaunt_convolution(x, vectors[:3], weight)
    with pytest.raises(ShapeError, match="weight must be"):
        gaunt_convolution(x, vectors, weight[:, :, :3])
    with pytest.raises(ShapeError, match="33 was asked for"):
        gaunt_convolution(x, vectors, weight, 33)
    with pytest.raises(ShapeError, match=r"weight is torch\.float32"):
        gaunt_convolution(x, vectors, weight.float())
    with pytest.raises(ShapeError, match="float16"):
        gaunt_convolution(x.half(), vectors.half(), weight.half())
    with pytest.raises(UnknownNameError, match="'pole'"):
        gaunt_convolution(x, vectors, weight, method="pol")
