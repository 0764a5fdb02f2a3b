from __future__ import annotations

import itertools

import pytest
import torch

from equitools.errors import ConfigError, GraphError, UnknownSpeciesError
from equitools.graph import Graph, batch
from equitools.models import EGNN, EGNNConfig

OPTIONS = {
    "default": {},
    "paper": {"radial": 0, "envelope": False},
    "everything": {"attention": True, "normalize": True, "tanh": True, "residual": False, "coordinate_mean": False},
    "one_layer": {"layers": 1, "avg_num_neighbors": 5.0},
}


@pytest.mark.parametrize("kind", ["molecule", "crystal", "slab", "atom"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("velocities", [False, True])
def test_equivariance(make_egnn, make_graph, moved, rotation, kind, options, velocities):
    model, graph = make_egnn(velocities=velocities, **options), make_graph(kind)
    if velocities:
        graph = graph.replace(velocities=torch.randn_like(graph.positions))
    before, after = model(graph), model(moved(graph, rotation))
    hidden = model.config.hidden
    scalars, vectors = before["node_features"].split([hidden, 3], dim=-1)
    assert str(model.irreps_out) == f"{hidden}x0e+1x1o"
    torch.testing.assert_close(
        after["node_features"], torch.cat([scalars, vectors @ rotation.T], -1), atol=1e-9, rtol=1e-9
    )
    torch.testing.assert_close(after["positions"], before["positions"] @ rotation.T + 1.7, atol=1e-9, rtol=1e-9)
    if velocities:
        torch.testing.assert_close(after["velocities"], before["velocities"] @ rotation.T, atol=1e-9, rtol=1e-9)
    if kind != "atom":
        assert vectors.norm() > 1e-3, "the coordinates did not move, so the test shows nothing"


def test_permutation(make_egnn, make_graph):
    model, graph = make_egnn(), make_graph("crystal")
    order = torch.tensor([2, 0, 3, 1])
    shuffled = Graph.from_arrays(
        graph.positions[order],
        graph.atomic_numbers[order],
        cell=graph.cell[0],
        pbc=True,
        cutoff=4.0,
        dtype=torch.float64,
    )
    torch.testing.assert_close(model(shuffled)["node_features"], model(graph)["node_features"][order])


def test_periodic_images_agree(make_egnn, make_graph):
    """A supercell, and atoms moved by lattice vectors, describe the same crystal."""
    model, graph = make_egnn(), make_graph("crystal")
    cell = graph.cell[0]
    shifts = torch.tensor(list(itertools.product(range(2), range(1), range(2))), dtype=torch.float64) @ cell
    positions = (graph.positions[None] + shifts[:, None]).reshape(-1, 3)
    big = Graph.from_arrays(
        positions, graph.atomic_numbers.repeat(4), cell=cell * torch.tensor([[2.0], [1.0], [2.0]]), pbc=True,
        cutoff=4.0, dtype=torch.float64,
    )  # fmt: skip
    expected = model(graph)["node_features"].repeat(4, 1)
    torch.testing.assert_close(model(big)["node_features"], expected)


def test_smooth_at_cutoff(make_egnn):
    """Value and first derivative of the features of a pair vanish continuously at the cutoff."""
    model = make_egnn()

    def features(distance: float) -> torch.Tensor:
        graph = Graph.from_arrays([[0, 0, 0], [0, 0, distance]], [6, 8], cutoff=4.0, dtype=torch.float64)
        return model(graph)["node_features"]

    apart = features(4.5)
    assert (features(4.0 - 1e-4) - apart).abs().max() < 1e-9
    assert (features(4.0 - 1e-2) - apart).abs().max() < 1e-3
    slope = (features(4.0 - 2e-4) - features(4.0 - 1e-4)).abs().max() / 1e-4
    assert slope < 1e-4
    assert (features(2.0) - apart).abs().max() > 1e-2


def test_coordinates_follow_the_paper(make_graph):
    """One layer without embedding tricks, against equations 3 to 6 written as loops over pairs."""
    torch.manual_seed(0)
    model = EGNN(EGNNConfig(cutoff=50.0, species=(1, 6, 8), hidden=5, layers=1, radial=0, envelope=False)).double()
    graph = make_graph("molecule", cutoff=50.0)
    h, x, layer = model.embedding(graph.atomic_numbers), graph.positions, model.layers[0]
    n = graph.num_nodes
    messages = {
        (i, j): layer.message(torch.cat([h[i], h[j], ((x[i] - x[j]) ** 2).sum()[None]]))
        for i, j in itertools.permutations(range(n), 2)
    }
    new_x = torch.stack(
        [
            x[i] + sum((x[i] - x[j]) * layer.coordinate(messages[i, j]) for j in range(n) if j != i) / (n - 1)
            for i in range(n)
        ]
    )
    new_h = torch.stack(
        [h[i] + layer.node(torch.cat([h[i], sum(messages[i, j] for j in range(n) if j != i)])) for i in range(n)]
    )
    outputs = model(graph)
    torch.testing.assert_close(outputs["positions"], new_x)
    square = ((new_x - x) ** 2).sum(-1, keepdim=True)
    torch.testing.assert_close(outputs["node_features"][:, :5], model.output(torch.cat([new_h, square], -1)))


def test_initial_weights_of_the_coordinate_network():
    model = EGNN(EGNNConfig(cutoff=4.0, species=(1,), hidden=16))
    last = model.layers[0].coordinate[-1]
    assert last.bias is None
    assert last.weight.abs().max() <= 1e-3 * (6 / 17) ** 0.5  # xavier uniform bound times the gain


def test_batch_equals_single(make_egnn, make_graph):
    model = make_egnn(attention=True)
    graphs = [make_graph(kind) for kind in ("molecule", "crystal", "atom", "water", "slab")]
    together = model(batch(graphs))["node_features"]
    torch.testing.assert_close(together, torch.cat([model(graph)["node_features"] for graph in graphs]))


def test_every_parameter_has_a_gradient_of_the_invariants(make_egnn, make_graph):
    for velocities in (False, True):
        model, graph = make_egnn(velocities=velocities), make_graph()
        if velocities:
            graph = graph.replace(velocities=torch.ones_like(graph.positions))
        model(graph)["node_features"][:, :12].square().sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_velocities_are_asked_for(make_egnn, make_graph):
    with pytest.raises(GraphError, match="velocities"):
        make_egnn(velocities=True)(make_graph())


def test_unknown_species(make_egnn):
    with pytest.raises(UnknownSpeciesError):
        make_egnn()(Graph.from_arrays([[0, 0, 0]], [79], cutoff=4.0, dtype=torch.float64))


def test_wrong_config_class():
    class Other(EGNNConfig):
        pass

    assert EGNN(Other(cutoff=3.0, species=[1])).cutoff == 3.0
    with pytest.raises(ConfigError, match="EGNNConfig"):
        EGNN({"cutoff": 3.0})
