"""The compiled convolutions against the per-path oracle: any plan, any graph, every derivative, every wrong call."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from equitools.errors import BackendError, GraphError, IrrepsError, ShapeError
from equitools.groups import Irreps, irreps_matrix, random_orthogonal
from equitools.nn import TensorProductConv, to_ir_mul, to_mul_ir
from equitools.ops import (
    TensorProductPlan,
    extension_loaded,
    radial_tensor_product_conv,
    tensor_product_conv,
    use_backend,
)
from equitools.ops.conv_tables import conv_tables
from equitools.ops.tensor_product_conv import tensor_product_conv_reference

pytestmark = pytest.mark.skipif(not extension_loaded(), reason="the compiled kernels are not built here")

FUZZ = settings(max_examples=25, deadline=None, derandomize=True, database=None)
UP_TO_SIX = "+".join(f"{l}{p}" for l in range(7) for p in "eo")
F64 = torch.float64


# ---- the oracle, in the layout of the kernels -----------------------------------------------------------------------


def oracle(
    plan: TensorProductPlan, x: Tensor, y: Tensor, w: Tensor, edges: Tensor, nodes: int, merged: bool = False
) -> Tensor:
    out = tensor_product_conv_reference(plan, to_mul_ir(x, plan.irreps_in), y, w, edges, nodes)
    if merged:  # in mul_ir, merging is to say so: the blocks of one irrep are neighbours
        return to_ir_mul(out, plan.irreps_out.simplify())
    return to_ir_mul(out, plan.irreps_out)


def normal(*shape: int, seed: int, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def operands(plan: TensorProductPlan, senders: int, edges: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    return (
        normal(senders, plan.irreps_in.dim, seed=seed),
        normal(edges, plan.irreps_edge.dim, seed=seed + 1),
        normal(edges, plan.weight_numel, seed=seed + 2),
    )


def graph(senders: int, receivers: int, edges: int, seed: int = 0, ordered: bool = False) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    pair = [torch.randint(0, max(n, 1), (edges,), generator=g) for n in (senders, receivers)]
    return torch.stack([pair[0], pair[1].sort().values if ordered else pair[1]])


def derivatives(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], order: int, wanted: Sequence[int] | None = None
) -> list[Tensor]:
    """Value, then derivatives up to ``order`` of a scalar that is not linear in the value, along random directions."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    chosen = leaves if wanted is None else [leaves[i] for i in wanted]
    level = [function(*leaves)]
    results = [level[0].detach()]
    for k in range(1, order + 1):
        factors = [normal(*t.shape, seed=10 * k + i).to(t) for i, t in enumerate(level)]
        total = sum((t * f + 0.1 * t * t).sum() for t, f in zip(level, factors, strict=True))
        level = list(torch.autograd.grad(total, chosen, create_graph=k < order))
        results += [t.detach() for t in level]
    return results


def assert_near(ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float = 1e-11) -> None:
    """Absolutely within ``tolerance`` of the largest number of each tensor, or of 1."""
    assert len(ours) == len(theirs)
    for k, (a, b) in enumerate(zip((t.detach() for t in ours), (t.detach() for t in theirs), strict=True)):
        assert a.shape == b.shape, (k, a.shape, b.shape)
        if a.numel():
            scale = max(1.0, float(b.abs().max()))
            assert float((a.double() - b.double()).abs().max()) <= tolerance * scale, f"tensor {k}"


@st.composite
def plans(draw: st.DrawFn, max_l: int = 6, muls: tuple[int, ...] = (1, 2, 3, 17, 33)) -> TensorProductPlan:
    def blocks(choices: tuple[int, ...], most: int) -> str:
        block = st.tuples(st.sampled_from(choices), st.integers(0, max_l), st.sampled_from("eo"))
        return "+".join(f"{m}x{l}{p}" for m, l, p in draw(st.lists(block, min_size=1, max_size=most)))

    inner, outer = blocks(muls, 2), blocks((1, 1, 2), 2)
    out = draw(st.sampled_from([UP_TO_SIX, "0e+1o+2e+3o", "0o+1e+2o+4e+5e+6e"]))
    try:
        plan = TensorProductPlan(inner, outer, out)
    except IrrepsError:
        assume(False)
    assume(plan.weight_numel <= 1000)
    return plan


# ---- any plan -------------------------------------------------------------------------------------------------------


@FUZZ
@given(plans(), st.booleans(), st.booleans(), st.integers(0, 2**16))
def test_equals_reference(plan: TensorProductPlan, merged: bool, ordered: bool, seed: int) -> None:
    senders, receivers = 4, 5
    edges = graph(senders, receivers - 1, 9, seed, ordered)  # the last receiver is isolated
    inputs = operands(plan, senders, 9, seed)
    with use_backend("cpu"):
        ours = derivatives(lambda *t: tensor_product_conv(plan, *t, edges, receivers, merged), inputs, 2)
    theirs = derivatives(lambda *t: oracle(plan, *t, edges, receivers, merged), inputs, 2)
    assert_near(ours, theirs)
    assert not ours[0][-1].any()


@FUZZ
@given(plans(max_l=3), st.booleans(), st.sampled_from((1, 4, 19)), st.integers(0, 2**16))
def test_equals_unfused(plan: TensorProductPlan, merged: bool, depth: int, seed: int) -> None:
    edges = graph(4, 3, 7, seed)
    x, y, _ = operands(plan, 4, 7, seed)
    inputs = (x, y, normal(7, depth, seed=seed + 3), normal(depth, plan.weight_numel, seed=seed + 4))
    with use_backend("cpu"):
        ours = derivatives(lambda x, y, h, v: radial_tensor_product_conv(plan, x, y, h, v, edges, 3, merged), inputs, 2)
        theirs = derivatives(lambda x, y, h, v: tensor_product_conv(plan, x, y, h @ v, edges, 3, merged), inputs, 2)
    assert_near(ours, theirs)


@FUZZ
@given(st.sampled_from((1, 3, 16, 17, 33)), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**16))
def test_three_dimensional_features(channels: int, l1: int, l2: int, seed: int) -> None:
    plan = TensorProductPlan(f"{channels}x0e + {channels}x{l1}o", f"0e + {l2}o")
    edges = graph(3, 4, 6, seed)
    x, y, w = operands(plan, 3, 6, seed)
    blocks = x.unflatten(1, (-1, channels)), y, w.unflatten(1, (-1, channels))

    def convolve(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        out = tensor_product_conv(plan, x, y, w, edges, 4)
        assert out.shape == (4, plan.irreps_out.dim // channels, channels)
        return out.flatten(1)

    theirs = derivatives(lambda x, y, w: oracle(plan, x.flatten(1), y, w.flatten(1), edges, 4), blocks, 2)
    assert_near(derivatives(convolve, blocks, 2), theirs)


@pytest.mark.parametrize("channels", [64, 128])
@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("wanted", [(0, 1, 2), (1,), (0,), (1, 2)])
def test_widths_with_kernels_of_their_own(channels: int, merged: bool, wanted: tuple[int, ...]) -> None:
    """64 and 128 channels in float32, whatever is asked for, tiles that end within four edges."""
    plan = TensorProductPlan(f"{channels}x0e + {channels}x1o + {channels}x2e", "0e + 1o + 2e", "0e + 1o + 2e")
    edges = graph(4, 3, 39, seed=channels)
    double = operands(plan, 4, 39)
    for inputs in (double, (*double[:2], normal(39, 6, seed=3), normal(6, plan.weight_numel, seed=4))):
        convolve = tensor_product_conv if len(inputs) == 3 else radial_tensor_product_conv

        def function(*t: Tensor, convolve: Any = convolve) -> Tensor:
            return convolve(plan, *t, edges, 3, merged)

        single = [t.float() for t in inputs]
        exact = derivatives(function, [t.double() for t in single], 1, wanted)
        assert_near(derivatives(function, single, 1, wanted), exact, tolerance=3e-6)


def test_more_paths_than_a_group_holds() -> None:
    plan = TensorProductPlan("+".join(["17x0e"] * 7), "+".join(["0e"] * 7), "0e")  # unrolled, and a rest of one channel
    assert len(plan.paths) == 49
    inputs = operands(plan, 4, 9)
    edges = graph(4, 4, 9)
    ours = derivatives(lambda *t: tensor_product_conv(plan, *t, edges, 4), inputs, 2)
    assert_near(ours, derivatives(lambda *t: oracle(plan, *t, edges, 4), inputs, 2))


def test_the_linear_factor_is_unused_in_its_gradient() -> None:
    """As in plain torch: what is linear in x has a gradient that does not depend on x."""
    plan = TensorProductPlan("3x0e + 3x1o", "0e + 1o", "0e + 1o")
    x, y, w = (t.requires_grad_() for t in operands(plan, 4, 9))
    out = tensor_product_conv(plan, x, y, w, graph(4, 4, 9), 4)
    (first,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    assert torch.autograd.grad(first.square().sum(), x, retain_graph=True, allow_unused=True) == (None,)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(first.square().sum(), x)


def test_forces_inside_activation_checkpointing() -> None:
    """Saved tensors are unpacked once; more often is an error under checkpointing."""
    plan = TensorProductPlan("3x0e + 3x1o", "0e + 1o", "0e + 1o")
    x, y, w = (t.requires_grad_() for t in operands(plan, 4, 9))
    edges = graph(4, 4, 9)

    def force(y: Tensor) -> Tensor:
        energy = tensor_product_conv(plan, x, y, w, edges, 4).square().sum()
        return torch.autograd.grad(energy, y, create_graph=True)[0]

    plain = torch.autograd.grad(force(y).square().sum(), (x, y, w))
    kept = torch.utils.checkpoint.checkpoint(force, y, use_reentrant=False)
    assert_near(torch.autograd.grad(kept.square().sum(), (x, y, w)), plain)


def from_one_gradient(function: Callable[..., Tensor], inputs: Sequence[Tensor], which: int) -> list[Tensor]:
    """The gradient of one input, all inputs' gradients of its square, and theirs of the sum of all those squares."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    (first,) = torch.autograd.grad(function(*leaves).square().sum(), leaves[which], create_graph=True)
    second = torch.autograd.grad(first.square().sum(), leaves, create_graph=True, materialize_grads=True)
    third = torch.autograd.grad(sum(t.square().sum() for t in second), leaves)
    return [t.detach() for t in (first, *second, *third)]


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("channels", [3, 16, 35])
def test_derivatives_of_the_gradient_of_one_input(which: int, channels: int) -> None:
    """The double backward has one cotangent, and takes a shorter way."""
    plan = TensorProductPlan(f"{channels}x0e + {channels}x1o + {channels}x2e", "0e + 1o + 2e", "0e + 1o + 2e")
    edges = graph(4, 4, 9, seed=which)
    x, y, w = operands(plan, 4, 9, seed=which)
    hidden = (x, y, normal(9, 5, seed=7), normal(5, plan.weight_numel, seed=8))
    if which < 3:
        assert_near(
            from_one_gradient(lambda *t: tensor_product_conv(plan, *t, edges, 4), (x, y, w), which),
            from_one_gradient(lambda *t: oracle(plan, *t, edges, 4), (x, y, w), which),
        )
    assert_near(
        from_one_gradient(lambda *t: radial_tensor_product_conv(plan, *t, edges, 4), hidden, which),
        from_one_gradient(lambda x, y, h, v: oracle(plan, x, y, h @ v, edges, 4), hidden, which),
    )


@FUZZ
@given(plans(max_l=4), st.integers(0, 2**16))
def test_single_precision(plan: TensorProductPlan, seed: int) -> None:
    """float32 is within 3e-6 of the largest number, in the value and in the first and second derivatives."""
    edges = graph(4, 3, 9, seed)
    x, y, w = operands(plan, 4, 9, seed)
    h, v = normal(9, 6, seed=seed + 3), normal(6, plan.weight_numel, seed=seed + 4)
    for function, inputs in (
        (lambda *t: tensor_product_conv(plan, *t, edges, 3), (x, y, w)),
        (lambda *t: radial_tensor_product_conv(plan, *t, edges, 3), (x, y, h, v)),
    ):
        single = [t.float() for t in inputs]
        assert_near(
            derivatives(function, single, 2), derivatives(function, [t.double() for t in single], 2), tolerance=3e-6
        )


def test_degrees_above_six_run_in_torch() -> None:
    plan = TensorProductPlan("2x7e", "7e + 0e", "0e + 7e")
    x, y, w = operands(plan, 3, 5)
    edges = graph(3, 3, 5)
    assert plan.max_degree == 7
    assert_near([tensor_product_conv(plan, x, y, w, edges, 3)], [oracle(plan, x, y, w, edges, 3)])
    with use_backend("cpu"), pytest.raises(BackendError, match="degrees up to 6"):
        tensor_product_conv(plan, x, y, w, edges, 3)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize(("inner", "outer"), [("3x0e + 3x1o", "0e + 1o"), ("3x0e + 2x1o + 1x0e", "2x0e + 1o")])
def test_reference_path_equals(inner: str, outer: str, merged: bool) -> None:
    plan = TensorProductPlan(inner, outer)
    x, y, w = operands(plan, 4, 9)
    h, v = normal(9, 3, seed=5), normal(3, plan.weight_numel, seed=6)
    edges = graph(4, 4, 9)

    def both() -> list[Tensor]:
        plain = derivatives(lambda *t: tensor_product_conv(plan, *t, edges, 4, merged), (x, y, w), 2)
        return plain + derivatives(lambda *t: radial_tensor_product_conv(plan, *t, edges, 4, merged), (x, y, h, v), 2)

    with use_backend("reference"):
        theirs = both()
    with use_backend("cpu"):
        assert_near(both(), theirs)


# ---- derivatives ----------------------------------------------------------------------------------------------------

SMALL = TensorProductPlan("2x0e + 1x1o", "0e + 2x1o", "0e + 1o")


def small(edges: int = 4) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    x, y, w = operands(SMALL, 3, edges)
    index = graph(3, 3, edges)
    index[:, -1] = 2  # the last node is used
    return index, (x, y, w), (x, y, normal(edges, 2, seed=7), normal(2, SMALL.weight_numel, seed=8))


@pytest.mark.parametrize("fused", [False, True])
def test_gradcheck(fused: bool) -> None:
    edges, plain, radial = small()
    operation, inputs = (radial_tensor_product_conv, radial) if fused else (tensor_product_conv, plain)
    leaves = [t.clone().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(lambda *t: operation(SMALL, *t, edges, 3), leaves)
    assert torch.autograd.gradgradcheck(lambda *t: operation(SMALL, *t, edges, 3), leaves)


@pytest.mark.parametrize("order", [3, 4])
def test_higher_derivatives_equal_those_of_the_reference(order: int) -> None:
    """With ``create_graph``, the cotangents depend on the inputs: each dependence counts once."""
    edges, plain, radial = small()
    theirs = derivatives(lambda *t: oracle(SMALL, *t, edges, 3), plain, order)
    assert_near(derivatives(lambda *t: tensor_product_conv(SMALL, *t, edges, 3), plain, order), theirs, 1e-10)
    theirs = derivatives(lambda x, y, h, v: oracle(SMALL, x, y, h @ v, edges, 3), radial, order)
    assert_near(derivatives(lambda *t: radial_tensor_product_conv(SMALL, *t, edges, 3), radial, order), theirs, 1e-10)


def test_third_derivative_with_and_without_graph() -> None:
    edges, plain, _ = small()
    results = []
    for again in (False, True):
        leaves = [t.clone().requires_grad_() for t in plain]
        value = tensor_product_conv(SMALL, *leaves, edges, 3).square().sum()
        for _ in range(2):
            value = sum(t.square().sum() for t in torch.autograd.grad(value, leaves, create_graph=True))
        results.append(torch.autograd.grad(value, leaves, create_graph=again))
    assert_near(results[1], results[0])


@pytest.mark.parametrize("wanted", [w for n in (1, 2) for w in itertools.combinations(range(4), n)], ids=str)
def test_some_inputs_only(wanted: tuple[int, ...]) -> None:
    """First and second derivatives where the other inputs are constants, of the plain and the radial convolution."""
    edges, plain, radial = small()

    def some(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> list[Tensor]:
        chosen = tuple(i for i in wanted if i < len(inputs))
        if not chosen:
            return []
        variable = [inputs[i] for i in chosen]

        def of_chosen(*given: Tensor) -> Tensor:
            full = list(inputs)
            for i, t in zip(chosen, given, strict=True):
                full[i] = t
            return function(*full)

        return derivatives(of_chosen, variable, 3)

    assert_near(
        some(lambda *t: tensor_product_conv(SMALL, *t, edges, 3), plain),
        some(lambda *t: oracle(SMALL, *t, edges, 3), plain),
    )
    assert_near(
        some(lambda *t: radial_tensor_product_conv(SMALL, *t, edges, 3), radial),
        some(lambda x, y, h, v: oracle(SMALL, x, y, h @ v, edges, 3), radial),
    )


@pytest.mark.parametrize("first", range(4))
def test_partial_cotangents(first: int) -> None:
    """A gradient of one input (forces), then the derivative of it by all inputs (training)."""
    edges, plain, radial = small()

    def partial(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> list[Tensor]:
        leaves = [t.clone().requires_grad_() for t in inputs]
        value = function(*leaves).square().sum()
        (force,) = torch.autograd.grad(value, leaves[first % len(leaves)], create_graph=True)
        second = torch.autograd.grad(force.square().sum(), leaves, create_graph=True)
        return [force, *second, *torch.autograd.grad(second[0].square().sum(), leaves)]

    assert_near(
        partial(lambda *t: tensor_product_conv(SMALL, *t, edges, 3), plain),
        partial(lambda *t: oracle(SMALL, *t, edges, 3), plain),
    )
    assert_near(
        partial(lambda *t: radial_tensor_product_conv(SMALL, *t, edges, 3), radial),
        partial(lambda x, y, h, v: oracle(SMALL, x, y, h @ v, edges, 3), radial),
    )


def test_backward_that_nobody_wants_is_skipped() -> None:
    edges, (x, y, w), _ = small()
    tables = conv_tables(SMALL)
    arguments = (x, y, tables.reorder(w), edges, *tables.tensors(F64))
    grad = normal(3, tables.dim_out, seed=1)
    grads = torch.ops.equitools.tensor_product_conv_backward(grad, *arguments, False, True, False)
    assert [tuple(g.shape) for g in grads] == [(0,), tuple(y.shape), (0,)]


# ---- graphs ---------------------------------------------------------------------------------------------------------

COUNTS = {
    "no nodes": [],
    "no edges": [0, 0, 0],
    "one edge": [0, 1, 0],
    "tiles that are just full": [32, 0, 32, 31, 1],
    "receivers of more than a tile": [0, 70, 5, 31, 40, 33, 0, 1, 32, 64, 2],
    "one receiver of many edges": [129],
    "many receivers of few edges": [1, 2, 0] * 30,
}


@pytest.mark.parametrize("channels", [3, 35])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("ordered", [True, False])
def test_any_graph(counts: list[int], ordered: bool, channels: int) -> None:
    plan = TensorProductPlan(f"{channels}x0e + {channels}x1o", "0e + 1o + 2e", "0e + 1o")
    nodes, senders = len(counts), 4 if counts else 0  # bipartite: senders and receivers are counted apart
    receiver = torch.repeat_interleave(torch.arange(nodes), torch.tensor(counts, dtype=torch.int64))
    if not ordered:
        receiver = receiver[torch.randperm(len(receiver), generator=torch.Generator().manual_seed(1))]
    edges = torch.stack([graph(senders, 1, len(receiver))[0], receiver])
    x, y, w = operands(plan, senders, len(receiver))
    h, v = normal(len(receiver), 3, seed=5), normal(3, plan.weight_numel, seed=6)
    ours = derivatives(lambda *t: tensor_product_conv(plan, *t, edges, nodes), (x, y, w), 2)
    assert_near(ours, derivatives(lambda *t: oracle(plan, *t, edges, nodes), (x, y, w), 2))
    ours = derivatives(lambda *t: radial_tensor_product_conv(plan, *t, edges, nodes), (x, y, h, v), 2)
    assert_near(ours, derivatives(lambda x, y, h, v: oracle(plan, x, y, h @ v, edges, nodes), (x, y, h, v), 2))


@pytest.mark.parametrize("view", ["strided", "transposed", "expanded", "offset"])
def test_any_strides(view: str) -> None:
    plan = TensorProductPlan("3x0e + 3x1o", "0e + 1o")
    nodes, count = 4, 7
    edges = graph(nodes, nodes, count)

    def seen(t: Tensor) -> Tensor:
        if view == "strided":
            return torch.stack([t, t + 1], -1)[..., 0]
        if view == "transposed":
            return t.T.contiguous().T
        if view == "expanded":
            return t[:1].expand_as(t)
        return torch.cat([t[:1], t])[1:]

    x, y, w = operands(plan, nodes, count)
    h, v = normal(count, 3, seed=5), normal(3, plan.weight_numel, seed=6)
    given, weights = [seen(t) for t in (x, y, w)], [seen(t) for t in (x, y, h, v)]
    if view != "offset":
        assert not any(t.is_contiguous() for t in given)
    index = torch.stack([edges, edges], -1)[..., 0]
    plain = [t.contiguous() for t in given]
    assert_near([tensor_product_conv(plan, *given, index, nodes)], [oracle(plan, *plain, edges, nodes)])
    plain = [t.contiguous() for t in weights]
    fused = radial_tensor_product_conv(plan, *weights, index, nodes)
    assert_near([fused], [oracle(plan, *plain[:2], plain[2] @ plain[3], edges, nodes)])
    # the cotangents, too: of a sum they are expanded, of a part of the columns strided
    ours = derivatives(lambda *t: seen(tensor_product_conv(plan, *t, index, nodes)), (x, y, w), 2)
    assert_near(ours, derivatives(lambda *t: seen(oracle(plan, *t, edges, nodes)), (x, y, w), 2))
    leaves = [t.clone().requires_grad_() for t in (x, y, w)]
    theirs = [t.clone().requires_grad_() for t in (x, y, w)]
    tensor_product_conv(plan, *leaves, index, nodes).sum().backward()
    oracle(plan, *theirs, edges, nodes).sum().backward()
    assert_near([t.grad for t in leaves], [t.grad for t in theirs])


# ---- threads --------------------------------------------------------------------------------------------------------


def test_repeatable_and_equal_for_one_and_two_threads() -> None:
    plan = TensorProductPlan("33x0e + 33x1o", "0e + 1o + 2e", "0e + 1o + 2e")
    nodes, count = 20, 400
    edges = graph(nodes, nodes, count)
    x, y, w = operands(plan, nodes, count)
    h, v = normal(count, 3, seed=5), normal(3, plan.weight_numel, seed=6)

    def everything() -> list[Tensor]:
        plain = derivatives(lambda *t: tensor_product_conv(plan, *t, edges, nodes), (x, y, w), 2)
        return plain + derivatives(lambda *t: radial_tensor_product_conv(plan, *t, edges, nodes), (x, y, h, v), 2)

    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            first, second = everything(), everything()
            assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), f"{threads} threads"
            results.append(first)
    finally:
        torch.set_num_threads(before)
    assert_near(results[1], results[0], 1e-12)


# ---- torch's machinery ----------------------------------------------------------------------------------------------


def raw_calls() -> dict[str, tuple[object, ...]]:
    """Arguments of the six operations."""
    edges, (x, y, w), (_, _, h, v) = small()
    tables = conv_tables(SMALL)
    rest = (edges, *tables.tensors(F64))
    grad = normal(3, tables.dim_out, seed=9)
    a, b, c, ch, cv = (normal(*t.shape, seed=20 + k) for k, t in enumerate((x, y, w, h, v)))
    grad, x, y, w, h, v, a, b, c, ch, cv = (t.requires_grad_() for t in (grad, x, y, w, h, v, a, b, c, ch, cv))
    forward = (edges, 3, tables.dim_out, *tables.tensors(F64))
    return {
        "tensor_product_conv": (x, y, w, *forward),
        "tensor_product_conv_backward": (grad, x, y, w, *rest, True, False, True),
        "tensor_product_conv_double_backward": (a, b, c, grad, x, y, w, *rest),
        "radial_tensor_product_conv": (x, y, h, v, *forward),
        "radial_tensor_product_conv_backward": (grad, x, y, h, v, *rest, True, True, True, False),
        "radial_tensor_product_conv_double_backward": (a, b, ch, cv, grad, x, y, h, v, *rest, True),
    }


@pytest.mark.parametrize("name", raw_calls() if extension_loaded() else [])
def test_opcheck(name: str) -> None:
    torch.library.opcheck(getattr(torch.ops.equitools, name), raw_calls()[name])


def test_opcheck_of_the_double_backward_without_a_cotangent_of_the_weights() -> None:
    arguments = list(raw_calls()["radial_tensor_product_conv_double_backward"])
    arguments[3], arguments[-1] = None, False
    torch.library.opcheck(torch.ops.equitools.radial_tensor_product_conv_double_backward, tuple(arguments))


class Convolve(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plan = TensorProductPlan("2x0e + 2x1o", "0e + 1o")

    def forward(self, x: Tensor, y: Tensor, h: Tensor, v: Tensor, edges: Tensor) -> Tensor:
        plain = tensor_product_conv(self.plan, x, y, h @ v, edges, x.shape[0], True)
        return plain + 2 * radial_tensor_product_conv(self.plan, x, y, h, v, edges, x.shape[0], True)


def convolve_inputs(module: Convolve, nodes: int = 4, edges: int = 6) -> tuple[Tensor, ...]:
    x, y, _ = operands(module.plan, nodes, edges)
    h, v = normal(edges, 3, seed=5), normal(3, module.plan.weight_numel, seed=6)
    return x, y, h, v, graph(nodes, nodes, edges)


def test_compile_of_a_fresh_plan() -> None:
    module = Convolve()
    *inputs, edges = convolve_inputs(module)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    ours = derivatives(lambda *t: compiled(*t, edges), inputs, 1)
    assert_near(ours, derivatives(lambda *t: module(*t, edges), inputs, 1))


@pytest.mark.parametrize("strict", [False, True])
def test_export_of_a_fresh_plan(strict: bool) -> None:
    module = Convolve()
    inputs = convolve_inputs(module)
    nodes, edges = torch.export.Dim("nodes"), torch.export.Dim("edges")
    shapes = ({0: nodes}, {0: edges}, {0: edges}, None, {1: edges})
    program = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=strict)
    other = convolve_inputs(module, 7, 11)
    assert_near([program.module()(*other)], [module(*other)])
    assert any("radial_tensor_product_conv" in str(node.target) for node in program.graph.nodes)


def test_tables_survive_where_they_are_made() -> None:
    """A plan that is made, or first used, in inference mode or for another device can be trained afterwards."""
    with torch.inference_mode(), torch.device("meta"):
        module = Convolve()
    *inputs, edges = convolve_inputs(module)
    with torch.inference_mode():
        expected = module(*inputs, edges)
    assert_near(derivatives(lambda *t: module(*t, edges), inputs, 2)[:1], [expected])
    single = [t.float().requires_grad_() for t in inputs]
    module(*single, edges).sum().backward()


@pytest.mark.parametrize("inner", ["3x0e + 3x1o + 3x2e", "3x0e + 2x1o + 2x0o"])
@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_equivariance(inner: str, layout: str) -> None:
    module = TensorProductConv(inner, "0e + 1o + 2e", layout=layout).double()
    x, y, w = operands(module.plan, 5, 15)
    edges = graph(5, 5, 15)
    g = random_orthogonal((), torch.Generator().manual_seed(1))

    def moved(t: Tensor, irreps: Irreps) -> Tensor:
        rows = t if layout == "mul_ir" else to_mul_ir(t, irreps)
        rows = rows @ irreps_matrix(irreps, g).T
        return rows if layout == "mul_ir" else to_ir_mul(rows, irreps)

    out = module(moved(x, module.irreps_in), y @ irreps_matrix(module.irreps_edge, g).T, w, edges, 5)
    assert_near([out], [moved(module(x, y, w, edges, 5), module.irreps_out)], 1e-12)


# ---- wrong calls ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "name"), [(0, "senders"), (1, "receivers")])
@pytest.mark.parametrize("index", [-1, 3, 2**40, -(2**63)])
def test_index_out_of_range(backend: str, row: int, name: str, index: int) -> None:
    edges, plain, radial = small()
    edges[row, 2] = index
    with pytest.raises(GraphError, match=name if backend == "cpu" else None):
        tensor_product_conv(SMALL, *plain, edges, 3)
    with pytest.raises(GraphError, match=name if backend == "cpu" else None):
        radial_tensor_product_conv(SMALL, *radial, edges, 3)


def test_wrong_shapes_and_dtypes() -> None:
    edges, (x, y, w), (_, _, h, v) = small()
    for call in (
        lambda: tensor_product_conv(SMALL, x[:, 1:], y, w, edges, 3),
        lambda: tensor_product_conv(SMALL, x[0], y, w, edges, 3),
        lambda: tensor_product_conv(SMALL, x[None], y, w, edges, 3),
        lambda: tensor_product_conv(SMALL, x, y[1:], w, edges, 3),
        lambda: tensor_product_conv(SMALL, x, y, w[:, 1:], edges, 3),
        lambda: tensor_product_conv(SMALL, x, y, w.float(), edges, 3),
        lambda: tensor_product_conv(SMALL, x, y.float(), w, edges, 3),
        lambda: tensor_product_conv(SMALL, x, y, w, edges.int(), 3),
        lambda: tensor_product_conv(SMALL, x, y, w, edges[0], 3),
        lambda: tensor_product_conv(SMALL, x, y, w, edges, -1),
        lambda: tensor_product_conv(SMALL, x, y, w, edges.to("meta"), 3),
        lambda: radial_tensor_product_conv(SMALL, x, y, h[1:], v, edges, 3),
        lambda: radial_tensor_product_conv(SMALL, x, y, h[:, 1:], v, edges, 3),
        lambda: radial_tensor_product_conv(SMALL, x, y, h, v[:, 1:], edges, 3),
        lambda: radial_tensor_product_conv(SMALL, x, y, h, v.float(), edges, 3),
        lambda: radial_tensor_product_conv(SMALL, x, y, h[0], v, edges, 3),
        lambda: radial_tensor_product_conv(SMALL, x, y, h.sum(), v, edges, 3),
        lambda: radial_tensor_product_conv(SMALL, x, y, h, v[0], edges, 3),
    ):
        with pytest.raises(ShapeError):
            call()
    uniform = TensorProductPlan("2x0e + 2x1o", "0e")
    rows, _, weights = operands(uniform, 3, 4)
    with pytest.raises(ShapeError, match="merged"):
        tensor_product_conv(
            uniform, rows.unflatten(1, (-1, 2)), y[:, :1], weights.unflatten(1, (-1, 2)), edges, 3, merged=True
        )


HUGE = 2**62
PATH = [1, 1, 1, 2, 0, 2, 0, 2, 0, 2, 0]  # l1 l2 l3 channels offset1 stride1 offset3 stride3 weight pairs add
PAIRS = [[0, 1, 1], [1, 0, 1]]
MALFORMED = {
    "no paths": ([], [], []),
    "degree above 6": ([[7, *PATH[1:]]], PAIRS, [0, 0]),
    "negative degree": ([[-1, *PATH[1:]]], PAIRS, [0, 0]),
    "no channels": ([[1, 1, 1, 0, *PATH[4:]]], PAIRS, [0, 0]),
    "2^32 channels": ([[1, 1, 1, 2**32 + 2, *PATH[4:]]], PAIRS, [0, 0]),
    "input beyond x": ([[*PATH[:4], 1, *PATH[5:]]], PAIRS, [0, 0]),
    "input stride overflows": ([[2, 1, 1, 2, 0, HUGE, *PATH[6:]]], PAIRS, [0, 0]),
    "input offset overflows": ([[*PATH[:4], 2**63 - 1, *PATH[5:]]], PAIRS, [0, 0]),
    "negative offset": ([[*PATH[:4], -1, *PATH[5:]]], PAIRS, [0, 0]),
    "negative stride": ([[*PATH[:5], -2, *PATH[6:]]], PAIRS, [0, 0]),
    "output beyond dim_out": ([[*PATH[:6], 1, *PATH[7:]]], PAIRS, [0, 0]),
    "output stride overflows": ([[1, 1, 2, *PATH[3:7], HUGE, *PATH[8:]]], PAIRS, [0, 0]),
    "output stride too small": ([[*PATH[:7], 1, *PATH[8:]]], PAIRS, [0, 0]),
    "output not covered": ([[1, 1, 0, *PATH[3:]]], [[0, 0, 1], [1, 0, 1]], [0, 0]),
    "two paths write one block": ([PATH, [*PATH[:8], 2, 2, 0]], PAIRS * 2, [0] * 4),
    "adds to nothing": ([[*PATH[:10], 1]], PAIRS, [0, 0]),
    "weights beyond": ([[*PATH[:8], 3, *PATH[9:]]], PAIRS, [0, 0]),
    "weight offset overflows": ([[*PATH[:8], 2**63 - 1, *PATH[9:]]], PAIRS, [0, 0]),
    "shared weights": ([PATH, [*PATH[:8], 0, 2, 1]], PAIRS * 2, [0] * 4),
    "pairs of no path": ([PATH], [*PAIRS, [2, 2, 0]], [0, 0]),
    "pairs that are missing": ([[*PATH[:9], 3, 0]], PAIRS, [0, 0]),
    "negative pairs": ([[*PATH[:9], -1, 0]], PAIRS, [0, 0]),
    "2^32 pairs": ([[*PATH[:9], 2**32 + 2, 0]], PAIRS, [0, 0]),
    "order beyond the degree": ([PATH], [[0, 1, 1], [1, 3, 1]], [0, 0]),
    "negative order": ([PATH], [[-1, 1, 1], [1, 0, 1]], [0, 0]),
    "order of 2^32": ([PATH], [[0, 1, 1], [2**32, 0, 1]], [0, 0]),
    "pairs out of order": ([PATH], PAIRS[::-1], [0, 0]),
    "negative count": ([PATH], [[0, 1, -1], [1, 0, 3]], [0, 0]),
    "counts that overflow": ([PATH], [[0, 1, 2**31], [1, 0, 2**31]], []),
    "counts of 2^32": ([PATH], [[0, 1, 2**32], [1, 0, 2]], [0, 0]),
    "entries that are missing": ([PATH], PAIRS, [0]),
    "entry beyond y": ([PATH], PAIRS, [0, 3]),
    "negative entry": ([PATH], PAIRS, [0, -1]),
}


def raw_forward(tables: tuple[Tensor, ...], **changed: object) -> Tensor:
    paths, pairs, entries = tables
    named: dict[str, object] = {
        "x": normal(3, 6, seed=0), "y": normal(4, 3, seed=1), "w": normal(4, 4 if len(paths) == 2 else 2, seed=2),
        "edges": graph(3, 3, 4), "nodes": 3, "dim_out": 6, "paths": paths, "pairs": pairs, "entries": entries,
        "coupling": torch.ones(len(entries), dtype=F64),
    }  # fmt: skip
    return torch.ops.equitools.tensor_product_conv(*{**named, **changed}.values())


def as_tables(paths: list[list[int]], pairs: list[list[int]], entries: list[int]) -> tuple[Tensor, ...]:
    return (
        torch.tensor(paths, dtype=torch.int64).reshape(-1, 11),
        torch.tensor(pairs, dtype=torch.int64).reshape(-1, 3),
        torch.tensor(entries, dtype=torch.int64),
    )


@pytest.mark.parametrize("tables", MALFORMED.values(), ids=MALFORMED)
def test_malformed_tables(tables: tuple[list[list[int]], list[list[int]], list[int]]) -> None:
    assert raw_forward(as_tables([PATH], PAIRS, [0, 1])).shape == (3, 6)
    with pytest.raises(RuntimeError):
        raw_forward(as_tables(*tables))


def test_a_path_without_pairs_gives_zero() -> None:
    """Also where the degrees do not couple, so that no unrolled kernel exists."""
    path = [0, 0, 1, 16, 0, 16, 0, 16, 0, 0, 0]
    x, w = normal(3, 16, seed=0), normal(4, 16, seed=1)
    assert not raw_forward(as_tables([path], [], []), x=x, w=w, dim_out=48).any()


@pytest.mark.parametrize(
    "changed",
    [
        {"x": normal(3, 6, seed=0).float()},
        {"x": normal(18, seed=0)},
        {"x": torch.zeros(3, 6, dtype=torch.int64)},
        {"x": torch.zeros(3, 6, dtype=torch.bfloat16)},
        {"x": normal(2, 6, seed=0)},
        {"y": normal(3, 3, seed=1)},
        {"y": normal(12, seed=1)},
        {"y": normal(4, 3, seed=1).float()},
        {"w": normal(4, seed=1)},
        {"w": normal(5, 2, seed=1)},
        {"w": normal(4, 2, seed=1).float()},
        {"edges": torch.zeros(2, 4, dtype=torch.int32)},
        {"edges": torch.zeros(3, 4, dtype=torch.int64)},
        {"edges": torch.zeros(8, dtype=torch.int64)},
        {"edges": torch.full((2, 4), 3)},
        {"edges": torch.full((2, 4), -1)},
        {"nodes": -1},
        {"nodes": 1},
        {"nodes": 2**62},
        {"nodes": 2**63 - 1},
        {"dim_out": -1},
        {"dim_out": 5},
        {"dim_out": 7},
        {"dim_out": 2**62},
        {"coupling": torch.ones(1, dtype=F64)},
        {"coupling": torch.ones(2)},
        {"coupling": torch.ones(2, 1, dtype=F64)},
        {"paths": torch.tensor([PATH], dtype=torch.int32)},
        {"paths": torch.tensor([PATH[:10]])},
        {"paths": torch.tensor(PATH)},
        {"pairs": torch.tensor(PAIRS)[:, :2]},
        {"pairs": torch.tensor(PAIRS, dtype=F64)},
        {"entries": torch.tensor([[0, 1]])},
        {"entries": torch.tensor([0.0, 1.0])},
    ],
    ids=lambda c: ",".join(f"{k}={getattr(v, 'dtype', v)}{[*getattr(v, 'shape', ())]}" for k, v in c.items()),
)
def test_malformed_arguments(changed: dict[str, object]) -> None:
    edges = torch.tensor([[0, 1, 2, 2], [0, 1, 2, 1]])
    with pytest.raises((RuntimeError, MemoryError)):
        raw_forward(as_tables([PATH], PAIRS, [0, 1]), **{"edges": edges, **changed})


@pytest.mark.parametrize("name", list(raw_calls()) if extension_loaded() else [])
def test_wrong_cotangents(name: str) -> None:
    """Each tensor of each operation in turn with a row too few, a column too few, of another dtype, of another rank."""
    operation, arguments = getattr(torch.ops.equitools, name), raw_calls()[name]
    arguments = tuple(t.detach() if isinstance(t, Tensor) else t for t in arguments)
    operation(*arguments)
    tensors = [k for k, t in enumerate(arguments) if isinstance(t, Tensor) and t.is_floating_point() and t.ndim == 2]
    for k, wrong in itertools.product(tensors, range(4)):
        t = arguments[k]
        changed = (t[1:], t[:, 1:], t.float(), t[0])[wrong]
        with pytest.raises(RuntimeError):
            operation(*arguments[:k], changed, *arguments[k + 1 :])


# ---- instruction sets -----------------------------------------------------------------------------------------------

EVERY_KERNEL = """
import torch
from equitools.ops import TensorProductPlan, radial_tensor_product_conv, tensor_product_conv, use_backend
from equitools.ops.backend import cpu_capability
torch.set_num_threads(1)
def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
for inner, outer, out in (
    ("17x0e + 17x1o + 17x2e", "0e + 1o + 2e", None),
    ("1x0e + 8x1o + 33x3o", "0e + 2x1o + 3o", "0e + 1o + 2e + 3o"),
    ("3x4e + 18x6e", "4e + 6e", "0e + 4e + 5e + 6e"),
):
    plan = TensorProductPlan(inner, outer, out)
    receiver = torch.arange(45).clamp(max=40) // 5 // 8  # one receiver has more edges than a tile
    edges = torch.stack([torch.arange(45) % 4, receiver.flip(0)])
    x, y = normal(1, 4, plan.irreps_in.dim), normal(2, 45, plan.irreps_edge.dim)
    h, v = normal(3, 45, 5), 0.3 * normal(4, 5, plan.weight_numel)
    def run(fused, dtype):
        leaves = [t.to(dtype).requires_grad_() for t in (x, y, h, v)]
        if fused:
            out = radial_tensor_product_conv(plan, *leaves, edges, 3)
        else:
            out = tensor_product_conv(plan, *leaves[:2], leaves[2] @ leaves[3], edges, 3)
        first = torch.autograd.grad(out.square().sum() / out.numel(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(t.square().sum() / t.numel() for t in first), leaves)
        return [t.detach().double() for t in (out, *first, *second)]
    with use_backend("reference"):
        expected = run(False, torch.float64)
    with use_backend("cpu"):
        for fused in (False, True):
            for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 2e-5)):
                for k, (a, b) in enumerate(zip(run(fused, dtype), expected)):
                    error = float((a - b).abs().max() / b.abs().max())
                    assert error < tolerance, (inner, fused, dtype, k, error)
print(cpu_capability())
"""


@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
def test_every_instruction_set(capability: str) -> None:
    environment = {"EQUITOOLS_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", EVERY_KERNEL]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    if capability == "default":
        assert done.stdout.strip() == "baseline"
