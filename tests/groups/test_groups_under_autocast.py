"""Under autocast groups compute in float32: rounded to bfloat16, matrices are no elements."""

from __future__ import annotations

import pytest
import torch

from equitools.groups import matrix_exp, matrix_log, parse_group, polar
from equitools.groups.orthogonal_factor import solve_lyapunov

NAMES = ["SO(3)", "SE(2)", "GL+(2)", "SL(3)", "Sp(4)", "SIM(2)", "R^2:SL(2)", "Torus(2)", "O(1,3)", "SO(2)xGL+(2)"]


@pytest.mark.parametrize("name", NAMES)
def test_groups_keep_full_precision(name: str) -> None:
    group = parse_group(name)
    x = 0.3 * torch.randn(5, group.dim, generator=torch.Generator().manual_seed(0))
    points = torch.randn(4, group.n, generator=torch.Generator().manual_seed(1))
    plain = group.exp(x)
    draw = lambda: group.sample((5,), torch.Generator().manual_seed(2), torch.float32)  # noqa: E731
    wanted = [group.log(plain), group.adjoint(plain), group.act(plain, points), group.project(1.001 * plain), draw()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        g = group.exp(x)
        assert group.contains(g).all()
        found = [group.log(g), group.adjoint(g), group.act(g, points), group.project(1.001 * g), draw()]
        widened = group.act(g, points.bfloat16())
        for kind in group.kinds:
            if kind != "jordan_chevalley":
                assert group.compose(group.decompose(g, kind), kind).dtype == torch.float32
    assert torch.equal(g, plain)
    assert widened.dtype == torch.float32
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


def derivatives(autocast: bool) -> list[torch.Tensor]:
    """A value, its gradient and a second derivative, of all matrix functions."""
    a = torch.eye(3) + 0.1 * torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(3))
    p = torch.diag(torch.tensor([1.0, 2.0, 3.0])).expand(4, 3, 3).clone()
    a, p = a.requires_grad_(), p.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        parts = (matrix_exp(a), matrix_log(a), *polar(a), solve_lyapunov(p, a))
    total = sum(part.square().sum() for part in parts)
    first = torch.autograd.grad(total, (a, p), create_graph=True)
    return [total, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), (a, p))]


def test_matrix_functions_keep_full_precision() -> None:
    for one, other in zip(derivatives(True), derivatives(False), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.parametrize("function", [matrix_exp, matrix_log, polar])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_more(function, dtype: torch.dtype) -> None:
    for n in (2, 5):
        a = (torch.eye(n) + 0.05 * torch.randn(3, n, n, generator=torch.Generator().manual_seed(4))).to(dtype)
        found, wanted = function(a), function(a.float())
        for one, other in zip(*((v if isinstance(v, tuple) else (v,)) for v in (found, wanted)), strict=True):
            assert one.dtype == dtype
            torch.testing.assert_close(one.float(), other, atol=0.02, rtol=0)
