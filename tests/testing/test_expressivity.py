"""Counting what products can be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equitools.errors import IrrepsError
from equitools.groups import Irreps, clebsch_gordan
from equitools.nn import GauntTensorProduct
from equitools.ops import matrix_product
from equitools.testing import Expressivity, coupling_paths, expressivity, path_coefficients


def natural(lmax: int) -> Irreps:
    return Irreps("+".join(f"1x{l}{'eo'[l % 2]}" for l in range(lmax + 1)))


def everything(lmax: int) -> Irreps:
    """Return all that products of natural irreps reach: no pseudoscalar."""
    return Irreps("1x0e+" + "+".join(f"1x{l}e+1x{l}o" for l in range(1, lmax + 1)))


class FreePaths(torch.nn.Module):
    """Clebsch–Gordan with a weight for each path."""

    def __init__(self, *irreps: Irreps) -> None:
        super().__init__()
        self.irreps = irreps
        self.paths = coupling_paths(*irreps)
        self.weight = torch.nn.Parameter(torch.ones(len(self.paths), dtype=torch.float64))

    def coefficients(self) -> Tensor:
        return self.weight

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        first, second, third = (irreps.slices() for irreps in self.irreps)
        out = [x.new_zeros(len(x), ir.dim) for _, ir in self.irreps[2]]
        for weight, (i, j, k) in zip(self.coefficients(), self.paths, strict=True):
            coupling = clebsch_gordan(*(irreps[n].ir.l for irreps, n in zip(self.irreps, (i, j, k), strict=True)))
            out[k] = out[k] + weight * torch.einsum("abc,na,nb->nc", coupling, x[:, first[i]], y[:, second[j]])
        assert out[0].shape[1] == third[0].stop
        return torch.cat(out, 1)


@pytest.mark.parametrize(("lmax", "paths"), [(1, 5), (2, 15), (3, 34)])
def test_clebsch_gordan_is_free(lmax: int, paths: int) -> None:
    irreps = natural(lmax), natural(lmax), everything(lmax)
    product = FreePaths(*irreps)
    assert expressivity(product, *irreps) == Expressivity(paths, paths, paths, paths, paths)
    assert product.weight.eq(1).all()  # given back
    with torch.no_grad():
        product.weight.copy_(torch.arange(1.0, paths + 1))
    torch.testing.assert_close(path_coefficients(product, *irreps), product.weight)
    with torch.no_grad():
        product.weight[3] = 0
    assert int((path_coefficients(product, *irreps) == 0).sum()) == 1


@pytest.mark.parametrize(("lmax", "even", "both"), [(1, 4, 5), (2, 11, 15), (4, 42, 65)])
def test_gaunt_is_rank_one(lmax: int, even: int, both: int) -> None:
    plain = GauntTensorProduct(str(natural(lmax)), str(natural(lmax)), str(everything(lmax)), odd="curl").double()
    found = expressivity(plain, natural(lmax), natural(lmax), everything(lmax))
    weights = 2 * (lmax + 1) + 2 * lmax + 1
    assert found == Expressivity(both, both, both, min(both, weights - 2), weights)
    plain = GauntTensorProduct(str(natural(lmax)), str(natural(lmax)), str(natural(lmax))).double()
    found = expressivity(plain, natural(lmax), natural(lmax), natural(lmax))
    weights = 3 * (lmax + 1)
    assert found == Expressivity(even, even, even, min(even, weights - 2), weights)


def test_both_halves_reach_all_paths_to_degree_8() -> None:
    irreps = natural(8), natural(8), everything(8)
    product = GauntTensorProduct(*(str(i) for i in irreps), odd="curl", method="dense").double()
    found = path_coefficients(product, *irreps).detach()
    assert len(found) == 369
    assert float(found.abs().min()) > 0.01
    even = GauntTensorProduct(*(str(i) for i in (natural(8),) * 3)).double()
    assert int((path_coefficients(even, *(natural(8),) * 3).detach().abs() > 0.01).sum()) == 215
    # degree 0 has no gradient: whatever it takes part in is of the even half
    odd = [p for p in coupling_paths(*irreps) if sum(i[k].ir.l for i, k in zip(irreps, p, strict=True)) % 2]
    assert len(odd) == 369 - 215
    assert all(i[k].ir.l > 0 for p in odd for i, k in zip(irreps, p, strict=True))


def test_sum_of_couplings() -> None:
    """A product is the sum of the couplings times its coefficients."""
    irreps = Irreps("1x0e+1x1o+1x1e"), Irreps("1x1o+1x2e"), Irreps("1x1e+1x1o+1x2o+1x0o")
    product = GauntTensorProduct(*(str(i) for i in irreps), odd="curl").double()
    for weight in product.parameters():
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
    same = FreePaths(*irreps)
    with torch.no_grad():
        same.weight.copy_(path_coefficients(product, *irreps))
    x, y = (torch.randn(5, i.dim, dtype=torch.float64) for i in irreps[:2])
    torch.testing.assert_close(same(x, y), product(x, y))


def test_a_product_without_weights() -> None:
    class Matrices(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            even, odd = (half.squeeze(-1) for half in matrix_product(x.unsqueeze(-1), y.unsqueeze(-1)))
            return torch.cat([even, odd[:, 1:]], -1)

    both = natural(5) + Irreps("+".join(f"1x{l}{'oe'[l % 2]}" for l in range(1, 6)))
    assert expressivity(Matrices(), natural(5), natural(5), both) == Expressivity(111, 108, 1, 0, 0)


def test_rounding_spans_nothing() -> None:
    """Coefficients that are zero but for rounding are no dimension of the span: of matrices, 6j symbols that vanish."""

    class Noisy(FreePaths):
        def coefficients(self) -> Tensor:
            kept = torch.ones_like(self.weight)
            kept[2:4] = 0
            return self.weight * kept + (1 - kept) * 1e-16 * torch.randn(len(kept), dtype=torch.float64)

    irreps = natural(2), natural(2), everything(2)
    assert expressivity(Noisy(*irreps), *irreps) == Expressivity(15, 13, 13, 13, 15)


def test_nothing_spans_nothing() -> None:
    class Nothing(FreePaths):
        def coefficients(self) -> Tensor:
            return 0 * self.weight

    irreps = natural(1), natural(1), everything(1)
    assert expressivity(Nothing(*irreps), *irreps) == Expressivity(5, 0, 0, 0, 5)


def test_bad_input() -> None:
    with pytest.raises(IrrepsError, match="one channel"):
        path_coefficients(lambda x, _: x, Irreps("2x0e"), Irreps("1x0e"), Irreps("2x0e"))
