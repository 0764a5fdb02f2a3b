from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError, GraphError, IrrepsError, ShapeError, UnknownNameError, UnknownSpeciesError
from equitools.graph import Graph, batch
from equitools.groups import Irreps
from equitools.models import (
    HEADS,
    Backbone,
    ClassHead,
    DipoleHead,
    HeadModel,
    ModelConfig,
    NodeVectorHead,
    ScalarHead,
    head_from_spec,
)
from equitools.models.readout import ScalarReadout, VectorReadout, select

SPECS = {
    "scalar": {"kind": "scalar", "name": "gap", "scale": 0.3, "shift": 5.0},
    "scalars": {"kind": "scalar", "name": "gaps", "num": 3, "pool": "mean"},
    "dipole": {"kind": "dipole"},
    "node_vector": {"kind": "node_vector", "name": "displacement", "hidden": 4},
    "class": {"kind": "class", "name": "phase", "num_classes": 4},
    "node_class": {"kind": "class", "name": "site", "num_classes": 2, "level": "node"},
}


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def model(request, make_egnn):
    return HeadModel(make_egnn(), head_from_spec(request.param)).double().eval()


def rotate(value: torch.Tensor, irreps: Irreps | None, matrix: torch.Tensor) -> torch.Tensor:
    return value @ matrix.T if irreps == Irreps("1x1o") else value


def test_outputs_are_declared(model, make_graph):
    graph = batch([make_graph("molecule"), make_graph("atom"), make_graph("water")])
    outputs = model(graph)
    assert set(outputs) == set(model.outputs)
    for name, (level, shape, _) in model.outputs.items():
        assert tuple(outputs[name].shape) == (graph.num_nodes if level == "node" else graph.num_graphs, *shape)


def test_equivariance(model, make_graph, moved, rotation):
    graph = batch([make_graph("molecule"), make_graph("water")])
    before, after = model(graph), model(moved(graph, rotation))
    for name, (_, _, irreps) in model.outputs.items():
        torch.testing.assert_close(after[name], rotate(before[name], irreps, rotation), atol=1e-9, rtol=1e-9)


def test_invariance(make_egnn, make_graph, moved, rotation):
    graph = make_graph("molecule")
    for head in (ScalarHead("x", num=2), ClassHead("x", 3), ClassHead("x", 3, level="node")):
        model = HeadModel(make_egnn(), head)
        torch.testing.assert_close(model(moved(graph, rotation))["x"], model(graph)["x"], atol=1e-9, rtol=1e-9)


def test_ions_in_another_place(make_egnn, make_graph, moved, rotation):
    graph = make_graph("molecule").replace(total_charge=torch.tensor([-1.0], dtype=torch.float64))
    model = HeadModel(make_egnn(), DipoleHead()).double()
    torch.testing.assert_close(model(moved(graph, rotation))["dipole"], model(graph)["dipole"] @ rotation.T)


def test_batch_equals_single(model, make_graph):
    graphs = [make_graph(kind) for kind in ("molecule", "atom", "water")]
    together = model(batch(graphs))
    for name in model.outputs:
        torch.testing.assert_close(together[name], torch.cat([model(graph)[name] for graph in graphs]))


def test_every_parameter_learns(model, make_graph):
    graph = batch([make_graph("molecule"), make_graph("water")])
    sum(value.square().sum() for value in model(graph).values()).backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert unused == []


def test_charge_conservation(make_egnn, make_graph):
    graph = batch([make_graph("molecule"), make_graph("water"), make_graph("atom")])
    charge = torch.tensor([0.0, -1.0, 2.0], dtype=torch.float64)
    outputs = HeadModel(make_egnn(), DipoleHead()).double()(graph.replace(total_charge=charge))
    sums = torch.zeros(3, dtype=torch.float64).index_add(0, graph.batch, outputs["charges"])
    torch.testing.assert_close(sums, charge)


def test_separation(make_egnn, make_graph):
    """Two neutral molecules far apart have the charges that each has alone, and the dipoles add up."""
    model, one, two = HeadModel(make_egnn(), DipoleHead()), make_graph("molecule"), make_graph("water")
    both = Graph.from_arrays(
        torch.cat([one.positions, two.positions + 40.0]),
        torch.cat([one.atomic_numbers, two.atomic_numbers]),
        cutoff=4.0,
        dtype=torch.float64,
    )
    first, second, together = model(one), model(two), model(both)
    torch.testing.assert_close(together["charges"], torch.cat([first["charges"], second["charges"]]))
    torch.testing.assert_close(together["dipole"], first["dipole"] + second["dipole"])


def test_dipole_without_vectors_is_that_of_the_charges(make_graph):
    class Scalars(Backbone):
        def __init__(self, config):
            super().__init__(config)
            self.irreps_out = Irreps("2x0e")
            self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, graph):
            return {"node_features": self.weight * torch.stack([graph.atomic_numbers] * 2, -1)}

    model = HeadModel(Scalars(ModelConfig(cutoff=4.0, species=[1, 8])), DipoleHead()).double()
    graph = make_graph("water")
    outputs = model(graph)
    torch.testing.assert_close(outputs["dipole"][0], outputs["charges"] @ graph.positions)


def test_dipole_of_a_crystal_is_refused(make_egnn, make_graph):
    with pytest.raises(GraphError, match="periodic"):
        HeadModel(make_egnn(), DipoleHead()).double()(make_graph("crystal"))


def test_sum_grows_and_mean_does_not(make_egnn, make_graph):
    one = make_graph("water")
    two = Graph.from_arrays(
        torch.cat([one.positions, one.positions + 30.0]), one.atomic_numbers.repeat(2), cutoff=4.0, dtype=torch.float64
    )
    for pool, factor in (("sum", 2.0), ("mean", 1.0)):
        model = HeadModel(make_egnn(), ScalarHead("x", pool=pool)).double()
        torch.testing.assert_close(model(two)["x"], factor * model(one)["x"])


def test_large_shift_keeps_digits(make_egnn, make_graph):
    model = HeadModel(make_egnn(), ScalarHead("u0", shift=-11178.966)).double()
    value = model(make_graph("water"))["u0"]
    narrow = model.float()(make_graph("water", dtype=torch.float32))["u0"]
    assert abs(float((value - narrow).detach())) < 1e-5


def test_spec_round_trip():
    for spec in SPECS.values():
        head = head_from_spec(spec)
        assert head_from_spec(head.spec()).spec() == head.spec()
        assert spec.items() <= head.spec().items()
    assert set(HEADS) == {"scalar", "dipole", "node_vector", "class"}


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"kind": "skalar", "name": "x"}, UnknownNameError, "Did you mean 'scalar'"),
        ({"name": "x"}, UnknownNameError, "scalar"),
        ({"kind": "scalar"}, ConfigError, "'name' is missing"),
        ({"kind": "scalar", "name": "x", "pol": "sum"}, ConfigError, "Did you mean 'pool'"),
        ({"kind": "scalar", "name": "x", "pool": "max"}, ConfigError, "pool"),
        ({"kind": "class", "name": "x", "num_classes": 1}, ConfigError, "num_classes"),
    ],
)
def test_bad_spec(spec, error, message):
    with pytest.raises(error, match=message):
        head_from_spec(spec)


def test_misuse(make_egnn, make_graph):
    head = ClassHead("x", 2)
    HeadModel(make_egnn(), head)
    with pytest.raises(ConfigError, match="already belongs"):
        HeadModel(make_egnn(), head)
    with pytest.raises(ConfigError, match="Backbone and a Head"):
        HeadModel(make_egnn(), torch.nn.Linear(2, 2))
    model = HeadModel(make_egnn(), NodeVectorHead("v")).double()
    with pytest.raises(ShapeError, match="float64"):
        model(make_graph(dtype=torch.float32))
    with pytest.raises(UnknownSpeciesError, match="Au"):
        model(Graph.from_arrays([[0, 0, 0]], [79], cutoff=4.0, dtype=torch.float64))


def test_readouts_need_their_irreps():
    with pytest.raises(IrrepsError, match="1o"):
        VectorReadout(Irreps("4x0e+2x1e"))
    with pytest.raises(IrrepsError, match="0e"):
        ScalarReadout(Irreps("4x0o+2x1o"))


def test_select():
    irreps = Irreps("2x0e+1x1o+1x0e+2x1o")
    features = torch.arange(12.0).reshape(1, 12)
    assert select(features, irreps, 0, 1).flatten().tolist() == [0, 1, 5]
    assert select(features, irreps, 1, -1).flatten().tolist() == [2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert select(features, irreps, 2, 1).shape == (1, 0, 5)
