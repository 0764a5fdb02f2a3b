"""ManyBodyMP beyond the acceptance suite: options, irreps of the layers, elements, backends, scale at the start."""

from __future__ import annotations

import pytest
import torch

import equitools as et
from equitools.errors import ConfigError, UnknownSpeciesError
from equitools.graph import Graph
from equitools.groups import irreps_matrix, random_orthogonal

WATER = [[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.05, -0.76, -0.47]]


def water(dtype: torch.dtype = torch.float64) -> Graph:
    return Graph.from_arrays(WATER, [8, 1, 1], cutoff=4.0, dtype=dtype)


def network(**options):
    torch.manual_seed(0)
    return et.models.build("many_body_mp", **{"cutoff": 4.0, "species": (1, 8), "channels": 4, "l_max": 2, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"correlation": 1},
        {"correlation": 4, "l_max": 1},
        {"num_layers": 1},
        {"num_layers": 3, "hidden_lmax": 2},
        {"hidden_lmax": 0},
        {"residual_first": True},
        {"l_max": 4, "correlation": 2},
        {"radial_hidden": ()},
        {"product": "gaunt"},
        {"convolution": "gaunt", "correlation": 2},
        {"product": "gaunt", "convolution": "gaunt", "correlation": 4, "num_layers": 3, "hidden_lmax": 2},
    ],
    ids=str,
)
def test_options_keep_equivariance(options) -> None:
    model = network(**options).double()
    graph = water()
    g = random_orthogonal((), torch.Generator().manual_seed(1))
    here = model(graph)["node_features"]
    there = model(graph.replace(positions=graph.positions @ g.T))["node_features"]
    torch.testing.assert_close(there, here @ irreps_matrix(model.irreps_out, g).T, atol=1e-10, rtol=1e-9)


def test_features_of_all_layers_stand_one_after_the_other() -> None:
    assert str(network(num_layers=3).irreps_out) == "4x0e+4x1o+4x0e+4x1o+4x0e"


def test_no_edges_give_finite_features_and_gradients() -> None:
    model = network(residual_first=True).double()
    graph = Graph.from_arrays([[0.0, 0.0, 0.0]], [8], cutoff=4.0, dtype=torch.float64)
    features = model(graph)["node_features"]
    features.sum().backward()
    assert torch.isfinite(features).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_both_backends_agree() -> None:
    model = et.models.Potential(network().double())
    compiled = model(water())
    with et.ops.use_backend("reference"):
        reference = model(water())
    torch.testing.assert_close(compiled["forces"], reference["forces"], atol=1e-11, rtol=1e-10)
    torch.testing.assert_close(compiled["energy"], reference["energy"], atol=1e-11, rtol=1e-10)


@pytest.mark.parametrize("average", [2.0, 12.0, 42.0])
def test_energies_start_near_one(average: float) -> None:
    # A step of 0.01 must not begin at 10⁵: that is where squares and cubes of unscaled sums end up.
    for seed in range(5):
        torch.manual_seed(seed)
        model = et.models.build("many_body_mp", cutoff=4.0, species=(1, 8), channels=16, avg_num_neighbors=average)
        assert et.models.Potential(model)(water(torch.float32))["interaction_energy"].abs().max() < 100


def test_unknown_element_and_option() -> None:
    with pytest.raises(UnknownSpeciesError, match="6"):
        network()(Graph.from_arrays(WATER, [6, 1, 1], cutoff=4.0))
    with pytest.raises(ConfigError, match="channels"):
        network(channel=3)
    with pytest.raises(ConfigError, match="correlation"):
        network(correlation=0)
