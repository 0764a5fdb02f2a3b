"""The convolution: fused form against the per-path oracle, derivatives, degenerate inputs."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ShapeError
from equitools.groups import irreps_matrix, random_orthogonal
from equitools.nn import to_ir_mul, to_mul_ir
from equitools.ops import TensorProductPlan, tensor_product_conv
from equitools.ops.tensor_product_conv import tensor_product_conv_reference

CASES = [
    ("2x0e", "0e + 1o + 2e", None),
    ("3x0e + 3x1o", "0e + 1o + 2e + 3o", "0e + 1o + 2e + 3o"),
    ("2x0e + 2x1o + 2x2e", "0e + 1o + 2e", None),
    ("1x4e", "4e + 3o", "8e + 1o + 0e"),
]


def inputs(plan: TensorProductPlan, nodes: int, edges: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, plan.irreps_in.dim, generator=g, dtype=torch.float64)
    y = torch.randn(edges, plan.irreps_edge.dim, generator=g, dtype=torch.float64)
    w = torch.randn(edges, plan.weight_numel, generator=g, dtype=torch.float64)
    edge_index = torch.randint(0, max(nodes - 1, 1), (2, edges), generator=g)  # the last node is isolated
    return x, y, w, edge_index[:, edge_index[1].argsort()]


def fused(
    plan: TensorProductPlan, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, edge_index: torch.Tensor
) -> torch.Tensor:
    channels = plan.irreps_in[0].mul
    columns = to_ir_mul(x, plan.irreps_in).reshape(len(x), -1, channels)
    out = tensor_product_conv(plan, columns, y, w.reshape(len(w), len(plan.paths), channels), edge_index, len(x))
    return to_mul_ir(out.flatten(1), plan.irreps_out)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("nodes", "edges"), [(5, 12), (3, 1), (4, 0)])
def test_equals_reference(case: tuple[str, str, str | None], nodes: int, edges: int) -> None:
    plan = TensorProductPlan(*case)
    x, y, w, edge_index = inputs(plan, nodes, edges)
    leaves = [t.clone().requires_grad_() for t in (x, y, w)]
    other = [t.clone().requires_grad_() for t in (x, y, w)]
    ours, theirs = fused(plan, *leaves, edge_index), tensor_product_conv_reference(plan, *other, edge_index, nodes)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    first = torch.autograd.grad(ours.square().sum(), leaves, create_graph=True)
    first_other = torch.autograd.grad(theirs.square().sum(), other, create_graph=True)
    torch.testing.assert_close(first, first_other, atol=1e-11, rtol=1e-11)
    second = torch.autograd.grad(sum(t.square().sum() for t in first), leaves)
    second_other = torch.autograd.grad(sum(t.square().sum() for t in first_other), other)
    torch.testing.assert_close(second, second_other, atol=1e-9, rtol=1e-10)
    assert not ours[-1].any()  # an isolated node receives nothing


def test_gradcheck() -> None:
    plan = TensorProductPlan("2x0e + 2x1o", "0e + 1o", "0e + 1o")
    x, y, w, edge_index = inputs(plan, 3, 4)
    leaves = [t.requires_grad_() for t in (x, y, w)]
    assert torch.autograd.gradcheck(lambda *t: fused(plan, *t, edge_index), leaves)
    assert torch.autograd.gradgradcheck(lambda *t: fused(plan, *t, edge_index), leaves)


def test_non_contiguous_and_single_precision() -> None:
    plan = TensorProductPlan("4x0e + 4x1o", "0e + 1o + 2e")
    x, y, w, edge_index = inputs(plan, 6, 20)
    expected = fused(plan, x, y, w, edge_index)
    strided = [torch.stack([t, t], -1)[..., 0] for t in (x, y, w)]
    assert not strided[0].is_contiguous()
    torch.testing.assert_close(fused(plan, *strided, edge_index), expected)
    single = fused(plan, *(t.float() for t in (x, y, w)), edge_index)
    torch.testing.assert_close(single.double(), expected, atol=1e-5, rtol=1e-5)


def test_equivariance() -> None:
    plan = TensorProductPlan("3x0e + 3x1o", "0e + 1o + 2e")
    x, y, w, edge_index = inputs(plan, 5, 15)
    g = random_orthogonal((), torch.Generator().manual_seed(1))
    d_in, d_edge, d_out = (irreps_matrix(i, g) for i in (plan.irreps_in, plan.irreps_edge, plan.irreps_out))
    moved = fused(plan, x @ d_in.T, y @ d_edge.T, w, edge_index)
    torch.testing.assert_close(moved, fused(plan, x, y, w, edge_index) @ d_out.T, atol=1e-12, rtol=1e-12)


def test_wrong_shapes() -> None:
    plan = TensorProductPlan("2x0e + 2x1o", "0e + 1o")
    x, y, w, edge_index = inputs(plan, 4, 5)
    columns, weights = to_ir_mul(x, plan.irreps_in).reshape(4, -1, 2), w.reshape(5, -1, 2)
    with pytest.raises(ShapeError, match="edge_attr"):
        tensor_product_conv(plan, columns, y[:, :3], weights, edge_index, 4)
    with pytest.raises(ShapeError, match="weight"):
        tensor_product_conv(plan, columns, y, weights[:, :1], edge_index, 4)
    with pytest.raises(ShapeError, match="float32"):
        tensor_product_conv(plan, columns, y.float(), weights, edge_index, 4)
    with pytest.raises(ShapeError, match="multiplicity"):
        tensor_product_conv(TensorProductPlan("2x0e + 3x1o", "0e"), columns, y, weights, edge_index, 4)
