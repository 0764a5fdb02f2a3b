"""Sparse products of functions on the sphere: the compiled kernel and its tables, weights of paths, and derivatives."""

from __future__ import annotations

import math

import e3nn.o3
import numpy as np
import pytest
import torch
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError
from equitools.groups import irreps_matrix, random_rotation
from equitools.groups._e3nn import E3NN_VERSION
from equitools.ops import sparse_tables, sphere_tables, use_backend
from equitools.ops.gaunt import gaunt_method, gaunt_paths, gaunt_tensor_product
from equitools.ops.gaunt_crossover import fastest
from equitools.ops.gaunt_measured import MEASURED

OLD = tuple(int(part) for part in E3NN_VERSION.split(".")[:2]) < (0, 5)
DEGREES = [(0, 0, 0), (1, 1, 1), (3, 2, 4), (2, 5, 3), (6, 6, 6), (0, 4, 4), (3, 3, 0), (11, 2, 10)]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def factors(l1: int, l2: int, rows: int = 3, channels: int = 5, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [random(rows, (l + 1) ** 2, channels, seed=10 * l1 + l2 + k, dtype=dtype) for k, l in enumerate((l1, l2))]


def weights(degrees: tuple[int, int, int], curl: bool, *channels: int, seed: int = 5) -> Tensor:
    return random(len(gaunt_paths(*degrees, curl)), *channels, seed=seed)


def near(a: Tensor, b: Tensor, tolerance: float) -> None:
    assert a.shape == b.shape
    assert float((a - b).detach().abs().max()) <= tolerance * max(1.0, float(b.detach().abs().max()))


def operation(
    tensors: tuple[Tensor, Tensor], weight: Tensor | None, degrees: list[int], third: int, sums: int
) -> Tensor:
    tables = tables_of(degrees, sums, tensors[0].dtype)
    return torch.ops.equitools.sparse_product(*tensors, weight, *tables, degrees, third, sums)


def tables_of(degrees: list[int], sums: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.from_numpy(table).to(dtype) for table in sparse_tables.kernel_tables(*degrees, sums)]


# ---- the tables and the kernel -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sums", [0, 1, 2])
@pytest.mark.parametrize("degrees", DEGREES, ids=str)
def test_each_of_the_three_may_be_the_product(degrees: tuple[int, int, int], sums: int, dtype: torch.dtype) -> None:
    """The kernel on quadrature's coefficients equals the dense tensor of Clebsch–Gordan ones, all ways round."""
    tensor = sum(sphere_tables.dense(*degrees, odd) for odd in (False, True) if sums in (int(odd), 2))
    given = [random(4, (l + 1) ** 2, 3, seed=k, dtype=dtype) for k, l in enumerate(degrees)]
    for third, subscripts in enumerate(("abk,nbc,nkc->nac", "abk,nkc,nac->nbc", "abk,nac,nbc->nkc")):
        pair = given[third - 2], given[third - 1]
        exact = np.einsum(subscripts, tensor, *(t.double().numpy() for t in pair), optimize=True)
        found = operation(pair, None, list(degrees), third, sums)
        assert found.dtype == dtype
        near(found.double(), torch.from_numpy(exact), 1e-13 if dtype == torch.float64 else 5e-7)


def test_high_degrees_in_the_table() -> None:
    """Degree 32 without the dense tensor: against the values at points."""
    x, y = factors(32, 2, rows=1, channels=2)
    found = gaunt_tensor_product(x, y, 32, method="sparse")
    near(found, gaunt_tensor_product(x, y, 32, method="grid"), 1e-12)
    found = gaunt_tensor_product(x, y, 32, method="sparse", curl=True)
    near(found, gaunt_tensor_product(x, y, 32, method="grid", curl=True), 1e-12)


def test_paths_are_counted() -> None:
    """Numbers of paths with all degrees to L, of even sum and of any (calculated)."""
    for lmax, even, both in ((1, 4, 5), (2, 11, 15), (3, 23, 34), (4, 42, 65), (8, 215, 369)):
        assert len(gaunt_paths(lmax, lmax, lmax)) == even
        assert len(gaunt_paths(lmax, lmax, lmax, curl=True)) == both - even
        assert len(sparse_tables.paths(lmax, lmax, lmax, 2)) == both
    assert gaunt_paths(1, 1, 1) == ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0))


@pytest.mark.parametrize("channels", [1, 3, 8, 16, 31, 33])
@pytest.mark.parametrize("rows", [0, 1, 2, 19])
def test_rows_and_channels_of_any_number(rows: int, channels: int) -> None:
    x, y = factors(3, 2, rows=rows, channels=channels)
    dense = gaunt_tensor_product(x, y, 4, method="dense")
    found = gaunt_tensor_product(x, y, 4, method="sparse")
    assert found.shape == dense.shape == (rows, 25, channels)
    near(found, dense, 1e-13) if rows else None
    weight = weights((3, 2, 4), False, channels)
    near(
        gaunt_tensor_product(x, y[..., :1], 4, method="sparse", path_weight=weight),
        gaunt_tensor_product(x, y[..., :1].expand_as(y), 4, method="dense", path_weight=weight),
        1e-13,
    ) if rows else None


def test_strides() -> None:
    x, y = factors(2, 2, rows=6)
    flat = gaunt_tensor_product(x, y, 3, method="sparse")
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    near(gaunt_tensor_product(strided, y, 3, method="sparse"), flat, 0)
    near(gaunt_tensor_product(x.view(2, 3, 9, 5), y[:3], 3, method="sparse")[0], flat[:3], 0)


def test_the_same_bits_with_any_number_of_threads() -> None:
    x, y, z = (random(700, 16, 17, seed=k) for k in range(3))
    tables, before, found = tables_of([3, 3, 3], 0), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(torch.ops.equitools.sparse_product_weights(x, y, z, *tables, [3, 3, 3], 0))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


# ---- weights of paths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("curl", [False, True])
@pytest.mark.parametrize("degrees", [(1, 1, 1), (2, 3, 4), (4, 4, 2)])
@pytest.mark.parametrize("channels", [(5, 5), (5, 1), (1, 5)])
def test_weighted_methods_agree(degrees: tuple[int, int, int], curl: bool, channels: tuple[int, int]) -> None:
    x, y = (t[..., :c] for t, c in zip(factors(*degrees[:2]), channels, strict=True))
    for weight in (weights(degrees, curl, 5), weights(degrees, curl)):
        dense = gaunt_tensor_product(x, y, degrees[2], curl=curl, method="dense", path_weight=weight)
        for method in ("sparse", "auto"):
            near(gaunt_tensor_product(x, y, degrees[2], curl=curl, method=method, path_weight=weight), dense, 1e-13)
        with use_backend("reference"):
            plain = gaunt_tensor_product(x, y, degrees[2], curl=curl, method="sparse", path_weight=weight)
        near(plain, dense, 1e-13)
        ones = torch.ones_like(weight)
        near(
            gaunt_tensor_product(x, y, degrees[2], curl=curl, method="dense", path_weight=ones),
            gaunt_tensor_product(x, y, degrees[2], curl=curl, method="grid"),
            1e-12,
        )


@pytest.mark.skipif(OLD, reason="e3nn 0.4 gives some couplings of odd sum the other sign")
@pytest.mark.parametrize("degrees", [(1, 1, 1), (3, 2, 4)])
def test_weighted_paths_are_clebsch_gordan(degrees: tuple[int, int, int]) -> None:
    """Both halves, each path with its weight, are all paths of e3nn's uuu product."""
    l1, l2, l3 = degrees
    channels = 4
    x, y = factors(l1, l2, channels=channels)
    ours = torch.zeros(3, (l3 + 1) ** 2, channels, dtype=torch.float64)
    instructions, theirs = [], []
    for curl in (False, True):
        weight = weights(degrees, curl, channels, seed=int(curl))
        ours = ours + gaunt_tensor_product(x, y, l3, curl=curl, method="sparse", path_weight=weight)
        for path, row in zip(gaunt_paths(*degrees, curl), weight, strict=True):
            instructions.append((*path, "uuu", True))
            theirs.append(row * sphere_tables.reduced(*path))
    assert len(instructions) == sum(
        1 for a in range(l1 + 1) for b in range(l2 + 1) for c in range(l3 + 1) if abs(a - b) <= c <= a + b
    )
    irreps = [e3nn.o3.Irreps([(channels, (l, 1)) for l in range(lmax + 1)]) for lmax in degrees]
    before = torch.get_default_dtype()
    try:  # e3nn keeps its coefficients in the default dtype
        torch.set_default_dtype(torch.float64)
        product = e3nn.o3.TensorProduct(
            *irreps, instructions, irrep_normalization="none", path_normalization="none", shared_weights=False,
            internal_weights=False,
        )  # fmt: skip
    finally:
        torch.set_default_dtype(before)

    def flat(t: Tensor, lmax: int) -> Tensor:
        return torch.cat([t[:, l * l : (l + 1) ** 2].transpose(1, 2).flatten(1) for l in range(lmax + 1)], 1)

    exact = product(flat(x, l1), flat(y, l2), torch.cat(theirs).expand(3, -1))
    near(flat(ours, l3), exact, 1e-12)


@pytest.mark.parametrize("curl", [False, True])
def test_equivariance(curl: bool) -> None:
    x, y = factors(4, 3)
    rotation = random_rotation(generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    d = [irreps_matrix("+".join(f"{l}e" for l in range(lmax + 1)), rotation) for lmax in (4, 3, 5)]
    weight = weights((4, 3, 5), curl, 5)
    out = gaunt_tensor_product(x, y, 5, curl=curl, path_weight=weight)
    turned = gaunt_tensor_product(d[0] @ x, d[1] @ y, 5, curl=curl, path_weight=weight)
    near(turned, d[2] @ out, 1e-12)


# ---- derivatives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("curl", [False, True])
@pytest.mark.parametrize("channels", [(2, 2, 2), (2, 1, 2), (1, 3, 0), (1, 1, 1), (2, 2, 0)])
def test_derivatives_of_factors_and_weights(curl: bool, channels: tuple[int, int, int]) -> None:
    """To third order; 0 channels: a weight for all."""
    x, y = (t[..., :c] for t, c in zip(factors(2, 1, rows=2), channels, strict=False))
    weight = weights((2, 1, 2), curl, *((channels[2],) if channels[2] else ()))
    given = [t.clone().requires_grad_() for t in (x, y, weight)]

    def function(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return gaunt_tensor_product(x, y, 2, curl=curl, method="sparse", path_weight=weight)

    assert torch.autograd.gradcheck(function, given)
    assert torch.autograd.gradgradcheck(function, given)
    found = []
    for backend in ("auto", "reference"):
        with use_backend(backend):
            first = torch.autograd.grad(function(*given).pow(3).sum(), given, create_graph=True)
            second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), given, create_graph=True)
            third = torch.autograd.grad(sum(g.pow(2).sum() for g in second), given)
            found.append((*first, *second, *third))
    for a, b in zip(*found, strict=True):
        near(a, b, 1e-11)


@pytest.mark.parametrize("curl", [False, True])
def test_derivatives_without_weights(curl: bool) -> None:
    x, y = (t.requires_grad_() for t in factors(2, 3, rows=2, channels=2))

    def function(x: Tensor, y: Tensor) -> Tensor:
        return gaunt_tensor_product(x, y, 2, curl=curl, method="sparse")

    assert torch.autograd.gradcheck(function, (x, y))
    assert torch.autograd.gradgradcheck(function, (x, y))


def test_only_the_gradients_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen weight has no gradient, and none of it is computed."""
    x, y = (t.requires_grad_() for t in factors(2, 2))
    weight = weights((2, 2, 2), False, 5)
    calls = []
    monkeypatch.setattr("equitools.ops.gaunt.needed", lambda ctx, k: calls.append(k) or ctx.needs_input_grad[k])
    gaunt_tensor_product(x, y, method="sparse", path_weight=weight).sum().backward()
    assert calls == [0, 1, 2]
    assert weight.grad is None


# ---- torch's transforms --------------------------------------------------------------------------------------------


def test_vmap_compile_and_opcheck() -> None:
    x, y = factors(2, 2, rows=6)
    weight = weights((2, 2, 3), False, 5)

    def product(a: Tensor, b: Tensor, w: Tensor | None = None) -> Tensor:
        return gaunt_tensor_product(a, b, 3, method="sparse", path_weight=w)

    both = x.view(2, 3, 9, 5), y.view(2, 3, 9, 5)
    near(torch.vmap(product)(*both).flatten(0, 1), product(x, y), 1e-13)
    near(torch.vmap(product, (0, None, None))(both[0], y[:3], weight)[0], product(x[:3], y[:3], weight), 1e-13)
    several = torch.stack([weight, 2 * weight])
    near(torch.vmap(product, (None, None, 0))(x, y, several)[1], product(x, y, 2 * weight), 1e-13)
    triple = [2, 2, 3]
    tables = tables_of(triple, 1)
    z = random(6, 16, 5, seed=9)
    gradients = torch.ops.equitools.sparse_product_weights
    each = torch.vmap(lambda a, b, c: gradients(a, b, c, *tables, triple, 1))(*both, z.view(2, 3, 16, 5))
    near(each[1], gradients(x[3:], y[3:], z[3:], *tables, triple, 1), 1e-14)
    leaves = [t.clone().requires_grad_() for t in (x, y, weights((2, 2, 3), True, 5))]
    torch.library.opcheck(torch.ops.equitools.sparse_product.default, (*leaves, *tables, triple, 2, 1))
    torch.library.opcheck(torch.ops.equitools.sparse_product.default, (*leaves[:2], None, *tables, triple, 2, 1))
    torch.library.opcheck(gradients.default, (*leaves[:2], z.requires_grad_(), *tables, triple, 1))


@pytest.mark.parametrize("method", ["sparse", "dense"])
def test_compilers_take_weights(method: str) -> None:
    """One graph for value and gradients of factors and weights, in torch.compile and torch.export."""
    x, y = factors(3, 2, rows=2)
    weight = weights((3, 2, 3), True, 5)
    given = [t.requires_grad_() for t in (x, y, weight)]

    def product(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return gaunt_tensor_product(x, y, 3, curl=True, method=method, path_weight=weight)

    class Module(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
            return product(x, y, weight)

    eager = product(*given)
    compiled = torch.compile(product, backend="aot_eager", fullgraph=True)(*given)
    near(compiled, eager, 1e-14)
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), given) for out in (compiled, eager)), strict=True):
        near(a, b, 1e-13)
    plain = tuple(t.detach() for t in given)
    near(torch.export.export(Module(), plain).module()(*plain), eager, 1e-14)


def test_auto_compiles_for_any_number_of_rows() -> None:
    class Module(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return gaunt_tensor_product(x, y, 2)

    rows = torch.export.Dim("rows", min=2, max=100_000)
    x, y = factors(2, 2, rows=4)
    exported = torch.export.export(Module(), (x, y), dynamic_shapes=({0: rows}, {0: rows})).module()
    x, y = factors(2, 2, rows=17)
    near(exported(x, y), gaunt_tensor_product(x, y, 2), 1e-13)
    compiled = torch.compile(lambda a, b: gaunt_tensor_product(a, b, 2), backend="aot_eager", fullgraph=True)
    near(compiled(x, y), gaunt_tensor_product(x, y, 2), 1e-13)


# ---- the choice ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", sorted(MEASURED))
@pytest.mark.parametrize("curl", [False, True])
def test_follows_the_table(device: str, curl: bool) -> None:
    names = {"d": "dense", "s": "sparse", "f": "fourier", "g": "grid"}
    table = MEASURED[device]
    for i, channels in enumerate(table["channels"]):
        for j, rows in enumerate(table["rows"]):
            line = table["curl" if curl else "plain"][i][j]
            for degree, letter in enumerate(line):
                assert gaunt_method(degree, degree, degree, channels, rows, device, curl) == names[letter]
            assert fastest(99, channels, rows, device, curl) == names[line[-1]]
            assert not curl or "f" not in line
    largest = [table[key][-1] for key in ("channels", "rows")]
    assert fastest(3, 10 * largest[0], 10 * largest[1], device, curl) == fastest(3, *largest, device, curl)
    assert gaunt_method(4, 4, 4, curl=curl, rows=None) == gaunt_method(4, 4, 4, curl=curl, rows=1000)
    assert gaunt_method(3, 4, 5) == gaunt_method(4, 4, 4)


def test_auto_is_the_method_of_the_table() -> None:
    x, y = factors(4, 4, rows=7, channels=3, dtype=torch.float32)
    taken = gaunt_method(4, 4, 4, 3, 7)
    assert torch.equal(gaunt_tensor_product(x, y), gaunt_tensor_product(x, y, method=taken))


# ---- errors --------------------------------------------------------------------------------------------------------


#: Largest error beside the largest number, float32, of all methods.
SINGLE = {0: 2e-7, 4: 1e-6, 8: 2e-6, 12: 4e-6}


@pytest.mark.parametrize("curl", [False, True])
def test_single_precision(curl: bool) -> None:
    """The errors by degree that the page of the crossover lists, here within bounds."""
    for lmax, bound in SINGLE.items():
        if lmax == 0 and curl:
            continue
        x, y = factors(lmax, lmax, channels=2, dtype=torch.float32)
        exact = gaunt_tensor_product(x.double(), y.double(), curl=curl, method="sparse")
        for method in ("sparse", "grid", "dense", "fourier"):
            if not (curl and method == "fourier") and not (lmax == 12 and method == "dense"):
                found = gaunt_tensor_product(x, y, curl=curl, method=method)
                assert float((found - exact).abs().max()) <= bound * float(exact.abs().max()), (lmax, method)


def test_bad_input() -> None:
    x, y = factors(2, 2)
    weight = weights((2, 2, 2), False, 5)
    for method in ("grid", "fourier"):
        with pytest.raises(UnknownNameError, match=r"'sparse' and method='dense'"):
            gaunt_tensor_product(x, y, method=method, path_weight=weight)
    for wrong in (weight[:-1], weight[:, :3], weight[None]):
        with pytest.raises(ShapeError, match=r"must be \[11\] or \[11, 5\]"):
            gaunt_tensor_product(x, y, path_weight=wrong)
    with pytest.raises(ShapeError, match="Convert one of them"):
        gaunt_tensor_product(x, y, path_weight=weight.float())
    with pytest.raises(ShapeError, match="half precision"):
        gaunt_tensor_product(x.half(), y.half(), path_weight=weight)
    triple, tables = [2, 2, 2], tables_of([2, 2, 2], 0)
    for words, arguments in (
        ("three degrees", (x, y, None, *tables, [2, 2], 2, 0)),
        ("lie in 0 to", (x, y, None, *tables, [2, 2, 99], 2, 0)),
        ("number 0, 1 or 2", (x, y, None, *tables, triple, 3, 0)),
        ("even .0., odd", (x, y, None, *tables, triple, 2, 3)),
        ("table must hold", (x, y, None, *(t[:-1] for t in tables), triple, 2, 0)),
        ("x must be", (x[:, :4], y, None, *tables, triple, 2, 0)),
        ("same number of rows", (x[:2], y, None, *tables, triple, 2, 0)),
        ("same dtype", (x, y.float(), None, *tables, triple, 2, 0)),
        ("same number of channels", (x[..., :2], y, None, *tables, triple, 2, 0)),
        ("weights must be", (x, y, weight[1:], *tables, triple, 2, 0)),
        ("float32 or float64", (x.half(), y.half(), None, *tables, triple, 2, 0)),
    ):
        with pytest.raises(RuntimeError, match=words):
            torch.ops.equitools.sparse_product(*arguments)
    with pytest.raises(RuntimeError, match="z must be"):
        torch.ops.equitools.sparse_product_weights(x, y, y[:, :4], *tables, triple, 0)


def test_nothing_comes_of_nothing() -> None:
    """Paths that do not exist, and rows that do not."""
    x, y = factors(0, 0)
    assert gaunt_paths(0, 0, 0, curl=True) == ()
    assert not gaunt_tensor_product(x, y, curl=True, method="sparse").any()
    empty = torch.zeros(0, 4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    out = gaunt_tensor_product(empty, empty.detach(), 1, method="sparse", path_weight=weight)
    out.sum().backward()
    assert out.shape == empty.shape
    assert weight.grad is not None
    assert not weight.grad.any()
    assert math.prod(gaunt_tensor_product(x[..., :0], y[..., :0], method="sparse").shape) == 0
