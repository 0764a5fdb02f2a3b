"""The many-body contraction: against its einsum oracle and products of coupling coefficients, and its symmetries."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import IrrepsError, ShapeError
from equitools.groups import Irreps, clebsch_gordan, irreps_matrix, random_orthogonal
from equitools.nn import SymmetricContraction
from equitools.ops import SymmetricContractionPlan, symmetric_contraction
from equitools.ops.symmetric_contraction import symmetric_contraction_reference


def make(irreps_in: str, irreps_out: str, correlation: int, channels: int = 2, species: int = 3, nodes: int = 6):
    g = torch.Generator().manual_seed(0)
    plan = SymmetricContractionPlan(irreps_in, irreps_out, correlation)
    x = torch.randn(nodes, plan.irreps_in.dim, channels, generator=g, dtype=torch.float64)
    weights = [
        [torch.randn(species, paths, channels, generator=g, dtype=torch.float64) for paths in counts]
        for counts in plan.num_paths
    ]
    return plan, x, weights, torch.randint(0, species, (nodes,), generator=g)


@pytest.mark.parametrize(
    ("irreps_in", "irreps_out", "correlation"),
    [
        ("0e + 1o", "0e + 1o", 1),
        ("0e + 1o + 2e", "0e + 1o", 2),
        ("0e + 1o + 2e", "0e + 2e", 3),
        ("0e + 1o", "0e + 1o", 4),
        ("0e + 1o", "0e + 1o", 5),
        ("0e + 1o + 1e", "0o + 1e", 3),
    ],
)
def test_equals_reference(irreps_in: str, irreps_out: str, correlation: int) -> None:
    plan, x, weights, species = make(irreps_in, irreps_out, correlation)
    flat = [w for row in weights for w in row]

    def run(function, leaf, parameters):
        rows = [parameters[k * correlation : (k + 1) * correlation] for k in range(len(weights))]
        return function(plan, leaf, rows, species)

    results = []
    for function in (symmetric_contraction, symmetric_contraction_reference):
        leaf = x.clone().requires_grad_()
        parameters = [w.clone().requires_grad_() for w in flat]
        out = run(function, leaf, parameters)
        used = [leaf, *(p for p in parameters if p.numel())]
        first = torch.autograd.grad(out.square().sum(), used, create_graph=True)
        second = torch.autograd.grad(sum(t.square().sum() for t in first), used)
        results.append((out, first, second))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=1e-9)


def test_two_factors_span_the_couplings() -> None:
    # Σ_ab C_abc x_a x_b for every pair of blocks must be a combination of the paths: least squares leaves nothing.
    plan, x, _, _ = make("0e + 1o + 2e", "2e", 2, channels=1, species=1, nodes=40)
    x = x[..., 0]
    table = plan.table("0.2", x.device, x.dtype)
    basis = torch.einsum("kzab,na,nb->nzk", table, x, x).flatten(0, 1)
    slices = plan.irreps_in.slices()
    for l1, l2 in ((0, 2), (1, 1), (2, 2)):
        coupled = torch.einsum("na,nb,abz->nz", x[:, slices[l1]], x[:, slices[l2]], clebsch_gordan(l1, l2, 2)).flatten()
        solution = torch.linalg.lstsq(basis, coupled[:, None]).solution
        torch.testing.assert_close(basis @ solution, coupled[:, None], atol=1e-11, rtol=0)


def test_equivariance() -> None:
    plan, x, weights, species = make("0e + 1o + 2e + 3o", "0e + 1o", 3)
    g = random_orthogonal((), torch.Generator().manual_seed(2))
    d_in, d_out = irreps_matrix(plan.irreps_in, g), irreps_matrix(plan.irreps_out, g)
    moved = symmetric_contraction(plan, torch.einsum("ij,njc->nic", d_in, x), weights, species)
    expected = torch.einsum("ij,njc->nic", d_out, symmetric_contraction(plan, x, weights, species))
    torch.testing.assert_close(moved, expected, atol=1e-10, rtol=1e-10)


def test_gradcheck() -> None:
    plan, x, weights, species = make("0e + 1o", "0e + 1o", 2, channels=1, nodes=3)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: symmetric_contraction(plan, t, weights, species), (x,))
    assert torch.autograd.gradgradcheck(lambda t: symmetric_contraction(plan, t, weights, species), (x,))


def test_any_order_of_nodes_and_strides() -> None:
    plan, x, weights, species = make("0e + 1o + 2e", "0e + 1o", 3, nodes=9)
    out = symmetric_contraction(plan, x, weights, species)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(symmetric_contraction(plan, x[order], weights, species[order]), out[order])
    strided = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not strided.is_contiguous()
    torch.testing.assert_close(symmetric_contraction(plan, strided, weights, species), out)


def test_no_nodes_and_absent_species() -> None:
    plan, x, weights, species = make("0e + 1o", "0e + 1o", 2)
    assert symmetric_contraction(plan, x[:0], weights, species[:0]).shape == (0, 4, 2)
    only = torch.full_like(species, 2)
    torch.testing.assert_close(
        symmetric_contraction(plan, x, weights, only), symmetric_contraction_reference(plan, x, weights, only)
    )


def test_module_equals_plan_and_double_is_exact() -> None:
    torch.manual_seed(0)
    module = SymmetricContraction("2x0e + 2x1o", "2x0e + 2x1o", 3, num_elements=2)
    x, species = torch.randn(5, 8), torch.tensor([0, 1, 1, 0, 1])
    single = module(x, species)
    double = module.double()(x.double(), species)
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=1e-4)
    inner = SymmetricContraction("2x0e + 2x1o", "2x0e + 2x1o", 3, num_elements=2, layout="ir_mul").double()
    inner.load_state_dict(module.state_dict())
    from equitools.nn import to_ir_mul, to_mul_ir

    irreps = Irreps("2x0e + 2x1o")
    torch.testing.assert_close(to_mul_ir(inner(to_ir_mul(x.double(), irreps), species), irreps), double)


def test_wrong_input() -> None:
    plan, x, weights, species = make("0e + 1o", "0e", 2)
    with pytest.raises(ShapeError, match="species"):
        symmetric_contraction(plan, x, weights, species + 3)
    with pytest.raises(ShapeError, match="must be"):
        symmetric_contraction(plan, x[:, :2], weights, species)
    with pytest.raises(IrrepsError, match="one number of channels"):
        SymmetricContraction("2x0e + 3x1o", "0e", 2, 1)
