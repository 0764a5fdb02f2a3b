"""Linear, gate, norms, radial bases, embedding: equivariance, normalisation, limits, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import equitools.nn as enn
from equitools.errors import ConfigError, IrrepsError, ShapeError, UnknownSpeciesError
from equitools.groups import Irreps, irreps_matrix, random_orthogonal

IRREPS = "4x0e + 3x1o + 2x2e + 1x0o"


def equivariance_error(module: torch.nn.Module, irreps_in: Irreps, irreps_out: Irreps) -> float:
    module = module.double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, irreps_in.dim, generator=generator, dtype=torch.float64)
    g = random_orthogonal((), generator)
    moved = module(x @ irreps_matrix(irreps_in, g).T)
    return (moved - module(x) @ irreps_matrix(irreps_out, g).T).abs().max().item()


@pytest.mark.parametrize(
    "module",
    [
        enn.Linear(IRREPS, "2x0e + 2x1o + 5x2e", bias=True),
        enn.Gate("4x0e", "3x1o + 2x2e + 2x0o"),
        enn.NormActivation(IRREPS),
        enn.EquivariantLayerNorm(IRREPS),
    ],
    ids=lambda m: type(m).__name__,
)
def test_equivariance(module: torch.nn.Module) -> None:
    irreps_in = getattr(module, "irreps_in", Irreps(IRREPS))
    irreps_out = getattr(module, "irreps_out", Irreps(IRREPS))
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    assert equivariance_error(module, irreps_in, irreps_out) < 1e-12


def test_linear_equals_e3nn() -> None:
    from e3nn import o3

    ours, theirs = enn.Linear("3x0e + 2x1o", "4x0e + 5x1o"), o3.Linear("3x0e + 2x1o", "4x0e + 5x1o")
    with torch.no_grad():
        theirs.weight.copy_(torch.cat([ours.weights["0e"].flatten(), ours.weights["1o"].flatten()]))
    x = torch.randn(6, 9)
    torch.testing.assert_close(ours(x), theirs(x))


def test_linear_layouts_and_species() -> None:
    torch.manual_seed(0)
    a = enn.Linear(IRREPS, "2x1o + 2x0e + 1x1o", num_elements=3, bias=True)
    b = enn.Linear(IRREPS, "2x1o + 2x0e + 1x1o", num_elements=3, bias=True, layout="ir_mul")
    b.load_state_dict(a.state_dict())
    x, species = torch.randn(4, a.irreps_in.dim), torch.tensor([2, 0, 1, 2])
    inner = b(enn.to_ir_mul(x, a.irreps_in), species)
    torch.testing.assert_close(enn.to_mul_ir(inner, a.irreps_out), a(x, species))
    assert a(x[:0], species[:0]).shape == (0, a.irreps_out.dim)
    with pytest.raises(ShapeError, match="species"):
        a(x)
    for wrong in (species.int(), species[:2], species[:, None]):
        with pytest.raises(ShapeError, match=r"species must be int64 \[4\]"):
            a(x, wrong)


def test_linear_keeps_unit_variance_and_fills_absent_irreps_with_zeros() -> None:
    torch.manual_seed(0)
    out = enn.Linear("256x0e", "256x0e + 2x1o")(torch.randn(400, 256))
    assert abs(float(out[:, :256].var()) - 1) < 0.1
    assert not out[:, 256:].any()
    with pytest.raises(IrrepsError, match="common"):
        enn.Linear("2x0e", "2x1o")
    with pytest.raises(IrrepsError, match="understood"):
        enn.Linear("2x0z", "0e")


def test_norm_activation_and_layer_norm_are_smooth_at_zero() -> None:
    for module in (enn.NormActivation("2x1o"), enn.EquivariantLayerNorm("2x1o")):
        x = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(module.double()(x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.sum(), x, allow_unused=True)
        assert torch.isfinite(gradient).all()
        assert second is None or torch.isfinite(second).all()


def test_scale_invariance() -> None:
    x = torch.randn(3, Irreps(IRREPS).dim, dtype=torch.float64)
    norm = enn.EquivariantLayerNorm(IRREPS, eps=1e-12).double()
    torch.testing.assert_close(norm(7 * x), norm(x), atol=1e-9, rtol=1e-9)


def test_gate_rejects_what_has_no_even_activation() -> None:
    with pytest.raises(IrrepsError, match="0e"):
        enn.Gate("2x0o", "1o")


def test_mlp_vanishes_with_its_input() -> None:
    mlp = enn.MLP([5, 8, 3])
    assert not mlp(torch.zeros(2, 5)).any()
    torch.manual_seed(0)
    assert 0.5 < float(enn.MLP([256, 256, 256])(torch.randn(300, 256)).std()) < 1.5


@pytest.mark.parametrize("p", [2, 5, 8])
def test_envelope(p: int) -> None:
    envelope = enn.PolynomialEnvelope(4.0, p)
    r = torch.tensor([0.0, 4.0, 4.0 - 1e-4, 5.0], dtype=torch.float64, requires_grad=True)
    value = envelope(r)
    assert value[0] == 1.0
    assert value[3] == 0.0
    (first,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    for derivative, bound in ((value, 1e-9), (first, 1e-6), (second, 1e-2)):
        assert abs(float(derivative[2])) < bound


def test_bessel_basis_against_its_formula() -> None:
    basis = enn.BesselBasis(6, 5.0)
    r = torch.linspace(0.3, 5.0, 20, dtype=torch.float64)
    expected = np.sqrt(2 / 5) * np.sin(np.arange(1, 7) * np.pi * r.numpy()[:, None] / 5) / r.numpy()[:, None]
    np.testing.assert_allclose(basis(r).numpy(), expected, atol=1e-12)
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    basis(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_gaussian_basis() -> None:
    basis = enn.GaussianBasis(5, 4.0)
    torch.testing.assert_close(torch.diagonal(basis(torch.linspace(0, 4, 5))), torch.ones(5))


def test_bad_radial_arguments() -> None:
    for build in (
        lambda: enn.BesselBasis(0, 5.0),
        lambda: enn.GaussianBasis(3, -1.0),
        lambda: enn.PolynomialEnvelope(1.0, 1),
    ):
        with pytest.raises(ConfigError):
            build()


def test_species_embedding() -> None:
    embedding = enn.SpeciesEmbedding([1, 6, 8], 4)
    numbers = torch.tensor([8, 1, 1, 6])
    torch.testing.assert_close(embedding(numbers), embedding.weight[[2, 0, 0, 1]])
    with pytest.raises(UnknownSpeciesError, match=r"\[7\].*\[1, 6, 8\]"):
        embedding(torch.tensor([1, 7]))
    with pytest.raises(UnknownSpeciesError, match="200"):
        embedding(torch.tensor([200]))
    with pytest.raises(ConfigError):
        enn.SpeciesEmbedding([1, 1], 4)


def test_layout_round_trip() -> None:
    irreps = Irreps(IRREPS)
    x = torch.randn(3, irreps.dim)
    torch.testing.assert_close(enn.to_mul_ir(enn.to_ir_mul(x, irreps), irreps), x)
    one = Irreps("2x1o")
    torch.testing.assert_close(enn.to_ir_mul(torch.arange(6.0), one), torch.tensor([0.0, 3.0, 1.0, 4.0, 2.0, 5.0]))
