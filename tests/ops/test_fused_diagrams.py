"""The compiled layer of diagrams beside the steps in plain torch: values, derivatives, orders of memory, bad tables."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from equitools.ops import DiagramSpace, diagram_linear, use_backend
from equitools.ops.backend import extension_loaded
from equitools.ops.constants import constants
from equitools.ops.fused_diagrams import fused_diagrams, takes

needs_kernels = pytest.mark.skipif(not extension_loaded(), reason="the extension is not built")
SPACES = [
    DiagramSpace("O", 3, 2, 2),
    DiagramSpace("O", 2, 3, 3, "independent"),
    DiagramSpace("S", 3, 2, 1),
    DiagramSpace("A", 3, 1, 2),
    DiagramSpace("SO", 3, 1, 2),
    DiagramSpace("Sp", 4, 1, 3),
    DiagramSpace("O", 3, 0, 2),
    DiagramSpace("O", 3, 2, 0),
    DiagramSpace("O", 3, 1, 2),  # no diagram at all
]


def drawn(space: DiagramSpace, batch: int, c_in: int, c_out: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """An input and weights, such that results are of order one."""
    generator = torch.Generator().manual_seed(batch)
    shapes = ((batch, c_in, *(space.n,) * space.k), (space.size, c_out, c_in))
    x, weight = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return [x.to(dtype), (weight / math.sqrt(c_in * max(1, space.size))).to(dtype)]


def both(function: Callable[[], list[Tensor]], tolerance: float) -> None:
    """Compare the results of a function with those in plain torch."""
    found = function()
    with use_backend("reference"):
        exact = function()
    for a, b in zip(found, exact, strict=True):
        assert a.shape == b.shape
        error = (a - b).detach().double().abs().max() if a.numel() else torch.zeros(())
        assert error <= tolerance * max(1.0, float(b.detach().abs().max()) if b.numel() else 1.0)


@needs_kernels
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("batch", [0, 1, 3, 8, 17, 33])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_fused_is_step_by_step(space: DiagramSpace, batch: int, dtype: torch.dtype, tolerance: float) -> None:
    """Values, first and second derivatives, for odd and even numbers of channels, in both orders of memory."""
    for c_in, c_out, first in ((1, 3, False), (4, 2, True), (3, 5, False)):
        x, weight = (t.requires_grad_() for t in drawn(space, batch, c_in, c_out, dtype))

        def values(x: Tensor = x, weight: Tensor = weight, first: bool = first) -> list[Tensor]:
            out = diagram_linear(x, weight, space, components_first=first)
            some = {"allow_unused": True, "materialize_grads": True}  # weights of no diagram
            grads = torch.autograd.grad(out.square().sum(), (x, weight), create_graph=True, **some)
            score = sum((g**2).sum() for g in grads)
            return [out, *grads, *torch.autograd.grad(score, (x, weight), **some)]

        both(values, tolerance)


@needs_kernels
@pytest.mark.parametrize("space", [SPACES[0], SPACES[3]], ids=str)
def test_derivatives_by_differences(space: DiagramSpace) -> None:
    x, weight = (t.requires_grad_() for t in drawn(space, 3, 2, 3))
    layer = lambda x, w: diagram_linear(x, w, space)  # noqa: E731
    assert torch.autograd.gradcheck(layer, (x, weight), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(layer, (x, weight), check_fwd_over_rev=True)


@needs_kernels
def test_transforms() -> None:
    """vmap over inputs, weights and both; Jacobians, which map over gradients; forward over reverse."""
    space = DiagramSpace("S", 3, 2, 1)
    x, weight = drawn(space, 5, 2, 3)
    layer = lambda x, w: diagram_linear(x, w, space)  # noqa: E731
    several = torch.stack([weight, 2 * weight, -weight])
    inputs = torch.stack([x, x + 1, x - 1])

    def values() -> list[Tensor]:
        return [
            torch.vmap(layer, (0, None))(inputs, weight),
            torch.vmap(layer, (None, 0))(x, several),
            torch.vmap(layer, (0, 0))(inputs, several),
            torch.vmap(layer, (2, None), 1)(inputs.movedim(0, 2), weight),
            *torch.func.jacrev(layer, (0, 1))(x, weight),
            *torch.func.jacfwd(layer, (0, 1))(x, weight),
            *torch.func.jacfwd(torch.func.grad(lambda x, w: layer(x, w).pow(3).sum(), (0, 1)), 1)(x, weight),
            torch.func.hessian(lambda x: layer(x, weight).pow(3).sum())(x[:2]),
        ]

    found = values()
    with use_backend("reference"):
        exact = values()
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_derivatives_forward_over_forward() -> None:
    """Where torch hides outer levels from what a function of ours has saved: the steps are taken, and are right."""
    space = DiagramSpace("O", 4, 1, 3)  # nobody has made its tables yet
    x, weight = drawn(space, 3, 2, 3)
    layer = lambda x, w: diagram_linear(x, w, space)  # noqa: E731

    def along(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda s: torch.func.jvp(function, (s,), (torch.ones_like(s),))[1]

    scaled = lambda s: layer(x * s, weight * s)  # noqa: E731
    one = torch.ones((), dtype=torch.float64)
    exact = layer(x, weight)
    torch.testing.assert_close(along(along(scaled))(one), 2 * exact)
    torch.testing.assert_close(torch.func.jacfwd(torch.func.jacfwd(scaled))(one), 2 * exact)
    cube = lambda s: scaled(s).square().sum()  # noqa: E731  # the fourth power of s
    third = torch.func.jacfwd(torch.func.jacfwd(torch.func.grad(cube)))(one)
    torch.testing.assert_close(third, 24 * exact.square().sum())
    torch.testing.assert_close(layer(x, weight), exact)  # nothing of the transforms is left in the tables


@needs_kernels
def test_forward_derivatives_of_a_gradient_that_was_recorded_before() -> None:
    """The gradient's graph is there already when a forward derivative begins: one level is right."""
    space = DiagramSpace("S", 3, 2, 1)
    x, weight = (t.requires_grad_() for t in drawn(space, 4, 2, 3))
    gradient, tangent = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    out = diagram_linear(x, weight, space)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(gradient, tangent)
        found = torch.autograd.grad(out, (x, weight), dual, create_graph=True)
        found = [torch.autograd.forward_ad.unpack_dual(t).tangent for t in found]
    exact = torch.autograd.grad(diagram_linear(x, weight, space), (x, weight), tangent)
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a, b)


@needs_kernels
@pytest.mark.filterwarnings("ignore::equitools.ops.backend.BackendFallbackWarning")
def test_what_is_taken() -> None:
    """Not what would work in vain for many lanes without an item, nor what other devices or backends have."""

    def found(n: int, batch: int, x: Tensor | None = None) -> bool:
        space = DiagramSpace("O", n, 2, 2)
        tables = constants("diagram_tables", "tables", space.key, torch.float32, torch.device("cpu"))
        x = torch.empty(batch, 16, n * n) if x is None else x
        return takes(x, torch.empty(9, 16, 16), (*tables[:6], *tables[12:18]))

    assert found(3, 1)
    assert found(100, 8)
    assert not found(100, 7)
    assert not found(3, 4, torch.empty(4, 16, 9, device="meta"))
    with use_backend("reference"):
        assert not found(3, 4)


@needs_kernels
def test_the_same_bits_with_any_number_of_threads() -> None:
    space = DiagramSpace("O", 4, 2, 2)
    x, weight = (t.requires_grad_() for t in drawn(space, 300, 5, 6))
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out = diagram_linear(x, weight, space)
            found.append([out.detach(), *torch.autograd.grad(out.square().sum(), (x, weight))])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@needs_kernels
def test_what_does_not_fit_is_refused() -> None:
    """The operation itself does not read outside of what it is given."""
    space = DiagramSpace("O", 3, 2, 2)
    found = constants("diagram_tables", "tables", space.key, torch.float64, torch.device("cpu"))
    x, mixed, blocks, tables = torch.zeros(9, 2, 4).double(), torch.zeros(100, 3, 2).double(), found[18], found[:6]
    tables = (*tables, *found[12:18])
    assert fused_diagrams(x, mixed, blocks, tables).shape == (9, 3, 4)
    bad = {
        "does not fit to": lambda: fused_diagrams(x[:5], mixed, blocks, tables),
        "block .* does not fit": lambda: fused_diagrams(x, mixed[:1], blocks, tables),
        "has 1 channels": lambda: fused_diagrams(x[:, :1], mixed, blocks, tables),
        "same dtype": lambda: fused_diagrams(x.float(), mixed, blocks, tables),
        "three dimensions": lambda: fused_diagrams(x[0], mixed, blocks, tables),
        r"int64 \[number, 6\]": lambda: fused_diagrams(x, mixed, blocks[:, :5], tables),
        "block 0 does not fit": lambda: fused_diagrams(x, mixed, blocks - 1, tables),
    }
    for message, call in bad.items():
        with pytest.raises(RuntimeError, match=message):
            call()
    huge, most = blocks.clone(), 2**63 - 1
    op = torch.ops.equitools.diagrams
    for row in ([2**61, 8, 8, 0, 0, 0], [1, 1, 1, most, 0, 0], [1, 1, 1, 0, most, 0], [most, most, most, 0, 0, 0]):
        huge[0] = torch.tensor(row)
        with pytest.raises(RuntimeError, match="block 0 does not fit"):
            fused_diagrams(x, mixed, huge, tables)
    with pytest.raises(RuntimeError, match="blocks make"):  # the rest would be whatever is in memory
        fused_diagrams(x, mixed, blocks[:-1], tables)
    for between in (-1, 10**15):
        with pytest.raises(RuntimeError, match="diagrams"):
            op(x, mixed, blocks[:0], *tables[:3], *tables[6:9], between, False, False, False)


@needs_kernels
@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_every_instruction_set(capability: str) -> None:
    environment = {**os.environ, "EQUITOOLS_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", "step_by_step"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
