"""Layers of diagrams: factored against dense, equivariance with random elements, derivatives, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups import SO, E, MatrixGroup, O, Sp, symplectic_form
from equitools.groups.diagrams import GROUPS, diagram_matrix, hom_dimension
from equitools.nn import DiagramLinear
from equitools.ops import DiagramSpace, diagram_linear
from equitools.ops.diagrams import diagram_weight_matrix

SIZES = [(0, 0), (1, 1), (2, 1), (0, 2), (3, 0), (2, 2), (1, 3), (3, 3)]
CASES = [
    (group, n, k, l)
    for group in GROUPS
    for n in (1, 2, 3, 4)
    for k, l in SIZES
    if (group != "Sp" or n % 2 == 0) and n ** (k + l) <= 800
]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def near(a: Tensor, b: Tensor, tolerance: float) -> None:
    assert a.shape == b.shape
    assert float((a - b).detach().abs().max()) <= tolerance * max(1e-30, float(b.detach().abs().max()))


def element(group: str, n: int, improper: bool = False) -> Tensor:
    """A random element; for S a permutation, odd if improper; for O and SO by QR, of determinant −1 if improper."""
    generator = torch.Generator().manual_seed(7)
    if group == "Sp":
        half = torch.randn(n, n, generator=generator, dtype=torch.float64)
        return torch.linalg.matrix_exp(0.3 * symplectic_form(n) @ (half + half.T))
    if group in {"S", "A"}:
        g = torch.eye(n, dtype=torch.float64)[torch.randperm(n, generator=generator)]
    else:
        q, r = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
        g = q * r.diagonal().sign()
    if (float(torch.linalg.det(g)) < 0) != improper:
        g = g[torch.tensor([1, 0, *range(2, n)])] if n > 1 else -g
    return g


def act(g: Tensor, x: Tensor, axes: int) -> Tensor:
    """Multiply the last axes by g, each."""
    for axis in range(x.ndim - axes, x.ndim):
        x = torch.tensordot(x, g, ([axis], [1])).movedim(-1, axis)
    return x


def layer(group: str, n: int, k: int, l: int, c_in: int = 2, c_out: int = 3, **words: object) -> DiagramLinear:
    made = DiagramLinear(group, n, k, l, c_in, c_out, **words).double()  # type: ignore[arg-type]
    if made.bias is not None:
        torch.nn.init.normal_(made.bias)
    return made


@pytest.mark.parametrize(("group", "n", "k", "l"), CASES)
@pytest.mark.parametrize("basis", ["spanning", "independent"])
def test_factored_is_dense(group: str, n: int, k: int, l: int, basis: str) -> None:
    """And the dense matrix is the sum of the diagrams' own."""
    space = DiagramSpace(group, n, k, l, basis)
    weight, x = draw(space.size, 3, 2), draw(4, 2, *(n,) * k, seed=1)
    matrix = diagram_weight_matrix(weight, space)
    exact = torch.zeros(3 * n**l, 2 * n**k, dtype=torch.float64)
    for w, diagram in zip(weight, layer(group, n, k, l, basis=basis).diagrams, strict=True):
        exact += torch.kron(w, diagram_matrix(diagram, n, group == "Sp"))
    near(matrix, exact, 1e-14)
    out = diagram_linear(x, weight, space)
    near(out, (x.flatten(1) @ exact.T).reshape(out.shape), 1e-12)


def test_factored_is_dense_where_it_was_asked_for() -> None:
    """The figure: n = 8, three axes to three, 16 channels to 16, a batch of 32; a part of the matrix's rows."""
    space = DiagramSpace("O", 8, 3, 3)
    weight, x = draw(15, 16, 16), draw(32, 16, 8, 8, 8, seed=1)
    out = diagram_linear(x, weight, space).reshape(32, 16, 512)
    for channel in (0, 11):
        matrix = diagram_weight_matrix(weight[:, channel : channel + 1], space)
        near(out[:, channel], x.flatten(1) @ matrix.T, 1e-12)


@pytest.mark.parametrize(("group", "n", "k", "l"), [c for c in CASES if c[1] > 1])
@pytest.mark.parametrize("method", ["factored", "dense"])
def test_equivariance(group: str, n: int, k: int, l: int, method: str) -> None:
    module, g, x = layer(group, n, k, l, method=method), element(group, n), draw(3, 2, *(n,) * k)
    out = module(x)
    near(module(act(g, x, k)), act(g, out, l), 1e-10)
    assert float(out.detach().abs().max()) > 1e-3 or hom_dimension(group, n, k, l) == 0


@pytest.mark.parametrize("group", ["S", "O"])
def test_equivariance_under_improper_elements(group: str) -> None:
    """Odd permutations and reflections."""
    for n, k, l in ((3, 2, 2), (3, 1, 3), (4, 2, 2)):
        module, g, x = layer(group, n, k, l), element(group, n, improper=True), draw(3, 2, *(n,) * k)
        assert float(torch.linalg.det(g)) < 0
        near(module(act(g, x, k)), act(g, module(x), l), 1e-10)


@pytest.mark.parametrize(("group", "n", "k", "l"), [("A", 3, 2, 1), ("A", 4, 2, 2), ("SO", 3, 2, 1), ("SO", 2, 2, 2)])
def test_improper_elements_break_what_has_a_head(group: str, n: int, k: int, l: int) -> None:
    """Jellyfish change their sign under an odd permutation, and (l+k)∖n diagrams under a reflection; others do not."""
    module, g, x = layer(group, n, k, l, bias=False), element(group, n, improper=True), draw(3, 2, *(n,) * k)
    change = (module(act(g, x, k)) - act(g, module(x), l)).detach().abs().max()
    assert float(change) > 1e-2 * float(module(x).detach().abs().max())
    headed = torch.tensor([diagram.legs > 0 for diagram in module.diagrams])
    assert headed.any()
    weight = module.weight.detach()
    for kept, sign in ((headed, -1), (~headed, 1)):
        part = weight * kept[:, None, None]
        before, after = (diagram_linear(y, part, module.space) for y in (x, act(g, x, k)))
        near(after, sign * act(g, before, l), 1e-10)


@pytest.mark.parametrize("group", GROUPS)
def test_completeness(group: str) -> None:
    """As many independent maps as the theory says: the rank of the matrices of random weights."""
    n = 2
    for k, l in ((1, 1), (2, 2), (2, 1)):
        module = layer(group, n, k, l, 1, 1, bias=False)
        rows = []
        for seed in range(module.space.size + 2):
            module.weight.data = draw(*module.weight.shape, seed=seed)
            rows.append(module.matrix().detach().flatten())
        assert int(torch.linalg.matrix_rank(torch.stack(rows))) == hom_dimension(group, n, k, l)
        assert layer(group, n, k, l, basis="independent").space.size == hom_dimension(group, n, k, l)


@pytest.mark.parametrize("group", GROUPS)
def test_method_independent_parameters(group: str) -> None:
    modules = [layer(group, 2, 2, 2, method=method) for method in ("factored", "dense", "auto")]
    x = draw(5, 2, 2, 2)
    for module in modules[1:]:
        module.load_state_dict(modules[0].state_dict())
        near(module(x), modules[0](x), 1e-12)
    assert "auto (dense)" in str(modules[2])


@pytest.mark.parametrize(("group", "n", "k", "l"), [c for c in CASES if c[1] == 2 and c[2] + c[3] <= 4])
def test_derivatives(group: str, n: int, k: int, l: int) -> None:
    space = DiagramSpace(group, n, k, l)
    if space.size:
        x, weight = draw(2, 2, *(n,) * k).requires_grad_(), draw(space.size, 1, 2, seed=1).requires_grad_()
        function = lambda x, weight: diagram_linear(x, weight, space)  # noqa: E731
        assert torch.autograd.gradcheck(function, (x, weight))
        if space.size < 10:
            assert torch.autograd.gradgradcheck(function, (x, weight))


def test_derivatives_of_the_layer() -> None:
    for method in ("factored", "dense"):
        module = layer("SO", 3, 2, 1, method=method)
        module(draw(4, 2, 3, 3)).square().sum().backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())
        if method == "factored":
            first = [p.grad.clone() for p in module.parameters()]
            state = module.state_dict()
        else:
            module.load_state_dict(state)
            module.zero_grad()
            module(draw(4, 2, 3, 3)).square().sum().backward()
            for a, b in zip(first, module.parameters(), strict=True):
                near(b.grad, a, 1e-12)


def test_forward_derivatives_and_vmap() -> None:
    space = DiagramSpace("O", 3, 2, 2)
    x, weight, tangent = draw(4, 2, 3, 3), draw(3, 1, 2), draw(4, 2, 3, 3, seed=2)
    exact = diagram_linear(tangent, weight, space)
    _, found = torch.func.jvp(lambda y: diagram_linear(y, weight, space), (x,), (tangent,))
    near(found, exact, 1e-12)
    near(torch.vmap(lambda y: diagram_linear(y, weight, space))(x), diagram_linear(x, weight, space), 1e-12)
    near(torch.vmap(lambda w: diagram_linear(x, w, space))(torch.stack([weight, 2 * weight]))[1],
         2 * diagram_linear(x, weight, space), 1e-12)  # fmt: skip


def test_the_same_where_nothing_is_recorded() -> None:
    """Whatever the mode; dual numbers are recorded in no_grad, too."""
    space = DiagramSpace("S", 3, 2, 2)
    x, weight, tangent = draw(4, 2, 3, 3), draw(15, 3, 2), draw(4, 2, 3, 3, seed=2)
    exact = diagram_linear(x.clone().requires_grad_(), weight, space)
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            assert torch.equal(diagram_linear(x, weight, space), exact)
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, tangent)
        found = torch.autograd.forward_ad.unpack_dual(diagram_linear(dual, weight, space)).tangent
    near(found, diagram_linear(tangent, weight, space), 1e-12)


@pytest.mark.parametrize("group", GROUPS)
def test_leading_axes_strides_and_empty_batches(group: str) -> None:
    module = layer(group, 4, 2, 2, method="factored")
    x = draw(2, 5, 2, 4, 4)
    flat = module(x.flatten(0, 1))
    near(module(x).flatten(0, 1), flat, 1e-13)
    near(module(x[1, 2]), flat[7], 1e-13)
    strided = x.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0)
    near(module(strided).flatten(0, 1), flat, 1e-13)
    empty = x[:0].requires_grad_()
    out = module(empty)
    assert out.shape == (0, 5, 3, 4, 4)
    out.sum().backward()
    assert empty.grad is not None
    assert not module.weight.grad.any()


def test_order_of_memory() -> None:
    """Two layers, with what is between them in either order: the same numbers and derivatives; and no copies."""
    x = draw(2, 20, 2, 3, 3).requires_grad_()
    first, second = layer("O", 3, 2, 2, method="factored"), layer("O", 3, 2, 2, 3, 1, method="factored")
    gradients = []
    for kept in (False, True):
        first.components_first = second.components_first = kept
        between = first(x)
        out = second(between.tanh())
        assert between.is_contiguous() != kept
        assert between.flatten(0, 1).flatten(2).permute(2, 1, 0).is_contiguous() == kept
        gradients.append(
            [out, *torch.autograd.grad(out.square().sum(), (x, *first.parameters(), *second.parameters()))]
        )
    for a, b in zip(*gradients, strict=True):
        near(a, b, 1e-13)


def test_single_precision() -> None:
    for group in ("S", "O", "Sp"):
        module = DiagramLinear(group, 6, 2, 2, 3, 4, method="factored")
        x = draw(5, 3, 6, 6, dtype=torch.float32)
        out = module(x)
        assert out.dtype == torch.float32
        near(out.double(), module.double()(x.double()), 2e-6)


@pytest.mark.parametrize(("k", "l"), [(2, 1), (1, 0), (0, 3), (1, 2)])
def test_odd_numbers_of_axes_give_zero(k: int, l: int) -> None:
    """For O(n) and Sp(n) no map but zero; an even l alone has a bias."""
    for group in ("O", "Sp"):
        for method in ("factored", "dense"):
            module = layer(group, 4, k, l, method=method)
            x = draw(3, 2, *(4,) * k).requires_grad_()
            out = module(x)
            assert module.weight.shape == (0, 3, 2)
            assert (module.bias is None) == (l % 2 == 1)
            bias = 0 if module.bias is None else out[:1]
            assert not (out - bias).any()
            out.sum().backward()
            assert not x.grad.any()


def test_unit_variance() -> None:
    for group, n, k, l in (("O", 8, 2, 2), ("S", 6, 2, 2), ("SO", 3, 2, 1), ("A", 3, 1, 2), ("Sp", 4, 3, 1)):
        torch.manual_seed(1)
        total = 0.0
        for _ in range(30):
            module = DiagramLinear(group, n, k, l, 8, 8)
            total += float(module(torch.randn(64, 8, *(n,) * k)).detach().square().mean()) / 30
        assert 0.75 < total < 1.3, (group, total)


def test_names_of_groups() -> None:
    for name in ("O", "O(n)", "O(3)", "O_n", "O_3"):
        assert DiagramLinear(name, 3, 1, 1, 1, 1).space.group == "O"
    with pytest.raises(ConfigError, match="does not act on axes of length 4"):
        DiagramLinear("SO(3)", 4, 1, 1, 1, 1)
    for name in ("U", "o", "SO3", ""):
        with pytest.raises(UnknownNameError, match="Diagrams do not know the group"):
            DiagramLinear(name, 3, 1, 1, 1, 1)


@pytest.mark.parametrize("group", [O(3), SO(3), Sp(4)], ids=str)
def test_groups_and_their_own_elements(group: MatrixGroup) -> None:
    """The matrix groups of the library, with what they draw."""
    module = DiagramLinear(group, group.n, 2, 2, 2, 3).double()
    g = group.sample((), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x = draw(4, 2, group.n, group.n)
    near(module(act(g, x, 2)), act(g, module(x), 2), 1e-10)
    with pytest.raises(UnknownNameError, match=r"group 'E'"):
        DiagramLinear(E(3), 3, 1, 1, 1, 1)


def test_bad_input() -> None:
    with pytest.raises(UnknownNameError, match="basis 'orbit'"):
        DiagramLinear("S", 3, 1, 1, 1, 1, basis="orbit")
    with pytest.raises(UnknownNameError, match="method 'fast'"):
        DiagramLinear("S", 3, 1, 1, 1, 1, method="fast")
    with pytest.raises(ConfigError, match="in_channels must be a positive integer"):
        DiagramLinear("S", 3, 1, 1, 0, 1)
    with pytest.raises(ConfigError, match="even number"):
        DiagramLinear("Sp", 3, 1, 1, 1, 1)
    module = layer("O", 3, 2, 1)
    for shape in ((2, 3), (4, 3, 3, 3), (2, 3, 2), (3,)):
        for method in ("factored", "dense"):
            module.method = method
            with pytest.raises(ShapeError, match="channels, then 2 axes of length 3"):
                module(draw(*shape))
    with pytest.raises(ShapeError, match="both be float32 or both float64"):
        module(draw(2, 3, 3, dtype=torch.float32))
    with pytest.raises(ShapeError, match="weights of 3 diagrams"):
        diagram_linear(draw(2, 3, 3), draw(2, 1, 2), DiagramSpace("O", 3, 2, 2))


def test_what_is_too_large_is_refused_with_its_size() -> None:
    with pytest.raises(ConfigError, match=r"method 'dense'\) would need .*matrix of 8,192 × 8,192 .*'factored'"):
        DiagramLinear("O", 8, 3, 3, 16, 16, method="dense", max_bytes=2**28)
    DiagramLinear("O", 8, 3, 3, 16, 16, method="factored", max_bytes=2**28)
    with pytest.raises(ConfigError, match=r"would need .*TiB for one input of 1,000,000,000,000 .* allowed"):
        DiagramLinear("O", 100, 6, 0, 1, 1, max_bytes=2**30)
    with pytest.raises(ConfigError, match="tables of 15 diagrams"):
        DiagramLinear("O", 60, 3, 3, 1, 1, max_bytes=2**26)


def test_autocast_does_not_round() -> None:
    module, x = DiagramLinear("O", 4, 2, 2, 3, 3, method="factored"), torch.randn(5, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(module(x), module(x))
        assert module(x).dtype == torch.float32


def test_kernels_of_the_plane_are_rotations() -> None:
    """SO(2) from vectors to vectors: exactly the multiples of rotations."""
    module = layer("SO", 2, 1, 1, 1, 1, bias=False)
    matrix = module.matrix().detach()
    a, b = matrix[0]
    near(matrix, torch.stack([torch.stack([a, b]), torch.stack([-b, a])]), 1e-14)
    assert abs(float(b)) > 1e-3


def test_sets_have_the_layer_of_deep_sets() -> None:
    """S_n from vectors to vectors: a multiple of the identity and one of the mean."""
    module = layer("S", 5, 1, 1, 1, 1, bias=False)
    matrix = module.matrix().detach()
    off = matrix[~torch.eye(5, dtype=torch.bool)]
    near(off, off[:1].expand(20), 1e-14)
    assert math.isclose(float(matrix.diagonal().std()), 0, abs_tol=1e-14)


@pytest.mark.parametrize("method", ["factored", "dense"])
def test_compiled(method: str) -> None:
    """In one graph, with the same results and derivatives."""
    module, x = layer("SO", 3, 2, 1, method=method), draw(5, 2, 3, 3).requires_grad_()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    near(compiled(x), module(x), 1e-13)
    exact, found = (torch.autograd.grad(f(x).square().sum(), (x, *module.parameters())) for f in (module, compiled))
    for a, b in zip(found, exact, strict=True):
        near(a, b, 1e-12)
