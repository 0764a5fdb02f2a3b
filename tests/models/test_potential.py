from __future__ import annotations

import copy

import pytest
import torch

from equitools.errors import ConfigError, GraphError, IrrepsError, ShapeError, UnknownSpeciesError
from equitools.graph import Graph, batch
from equitools.groups import Irreps
from equitools.models import Backbone, ModelConfig, Potential, ReferenceEnergies

ALL = {"forces": True, "stress": True, "virial": True}


def strained(graph: Graph, strain: torch.Tensor) -> Graph:
    matrix = torch.eye(3, dtype=torch.float64) + strain
    return graph.replace(positions=graph.positions @ matrix, cell=graph.cell @ matrix)


@pytest.mark.parametrize("zbl", [False, True])
@pytest.mark.parametrize("kind", ["molecule", "crystal", "slab"])
def test_conservative(make_potential, make_graph, kind, zbl):
    """Forces are minus the central difference of the energy, for every coordinate."""
    model, graph = make_potential(zbl=zbl), make_graph(kind)
    forces, step = model(graph)["forces"], 1e-4
    numeric = torch.zeros_like(forces)
    for index in range(graph.num_nodes):
        for axis in range(3):
            shift = torch.zeros_like(graph.positions)
            shift[index, axis] = step
            up = model(graph.replace(positions=graph.positions + shift), forces=False)["energy"]
            down = model(graph.replace(positions=graph.positions - shift), forces=False)["energy"]
            numeric[index, axis] = -(up - down) / (2 * step)
    torch.testing.assert_close(forces, numeric, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(forces.sum(0), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", ["crystal", "slab", "molecule"])
def test_stress(make_potential, make_graph, kind):
    """stress = +1/V dE/dε and virial = −V·stress, by central differences of the strained structure."""
    model, graph, step = make_potential(zbl=True), make_graph(kind), 1e-4
    outputs = model(graph, stress=kind != "molecule", virial=True)
    numeric = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            strain = torch.zeros(3, 3, dtype=torch.float64)
            strain[i, j] += 0.5 * step
            strain[j, i] += 0.5 * step
            difference = model(strained(graph, strain))["energy"] - model(strained(graph, -strain))["energy"]
            numeric[i, j] = difference / (2 * step)
    torch.testing.assert_close(outputs["virial"][0], -numeric, atol=1e-6, rtol=1e-6)
    assert numeric.abs().max() > 1e-2
    if kind != "molecule":
        volume = torch.linalg.det(graph.cell[0]).abs()
        torch.testing.assert_close(outputs["stress"][0] * volume, numeric, atol=1e-6, rtol=1e-6)


def test_invariance(make_potential, make_graph, moved, rotation):
    model, graph = make_potential(), make_graph("crystal")
    before, after = model(graph, **ALL), model(moved(graph, rotation), **ALL)
    torch.testing.assert_close(after["energy"], before["energy"], atol=1e-9, rtol=0)
    torch.testing.assert_close(after["forces"], before["forces"] @ rotation.T, atol=1e-9, rtol=1e-9)
    for key in ("stress", "virial"):
        torch.testing.assert_close(after[key], rotation @ before[key] @ rotation.T, atol=1e-9, rtol=1e-9)


def test_batch_equals_single(make_potential, make_graph):
    model = make_potential(zbl=True)
    graphs = [make_graph(kind) for kind in ("molecule", "crystal", "atom", "slab", "water")]
    together = model(batch(graphs), virial=True)
    assert "stress" not in together
    for key in ("energy", "node_energy", "forces", "virial", "interaction_energy"):
        alone = torch.cat([model(graph, virial=True)[key] for graph in graphs])
        torch.testing.assert_close(together[key], alone, atol=1e-9, rtol=1e-12)
    stress = model(batch(graphs), stress=True)["stress"]
    torch.testing.assert_close(stress[1], model(graphs[1])["stress"][0])
    assert torch.equal(stress[[0, 2, 4]], torch.zeros(3, 3, 3, dtype=torch.float64))


def test_outputs_asked_for(make_potential, make_graph):
    model = make_potential()
    energies = {"energy", "node_energy", "interaction_energy"}
    assert set(model(make_graph("crystal"))) == energies | {"forces", "stress"}
    assert set(model(make_graph("slab"))) == energies | {"forces"}
    assert set(model(make_graph("crystal"), forces=False)) == energies
    assert set(model(make_graph("crystal"), forces=False, stress=True)) == energies | {"stress"}
    assert set(model(make_graph("molecule"), forces=False, virial=True)) == energies | {"virial"}
    with pytest.raises(GraphError, match="volume"):
        model(make_graph("molecule"), stress=True)


@pytest.mark.parametrize("mode", ["plain", "no_grad", "inference"])
def test_modes_of_evaluation(make_potential, make_graph, mode):
    model, graph = make_potential(zbl=True), make_graph("crystal")
    expected = model(graph, **ALL)
    context = {"plain": torch.enable_grad, "no_grad": torch.no_grad, "inference": torch.inference_mode}[mode]
    with context():
        copied = graph.replace(
            positions=graph.positions.clone(), cell=graph.cell.clone(), edge_index=graph.edge_index + 0
        )
        outputs = model(copied, **ALL)
    assert not any(value.requires_grad for value in outputs.values())
    for key, value in expected.items():
        torch.testing.assert_close(outputs[key], value)
    assert not graph.positions.requires_grad
    assert model.training is False


def test_isolated_atoms(make_potential, make_graph):
    """Without edges forces, stress and virial are zeros, and differentiating them again is no error."""
    model = make_potential(zbl=True)
    atom = make_graph("atom")
    far = Graph.from_arrays(
        [[0, 0, 0], [0, 0, 40.0]], [6, 6], cell=[99, 99, 99], pbc=True, cutoff=4.0, dtype=torch.float64
    )
    for graph in (atom, far):
        outputs = model(graph, forces=True, virial=True)
        assert torch.equal(outputs["forces"], torch.zeros_like(graph.positions))
        assert torch.equal(outputs["virial"], torch.zeros(1, 3, 3, dtype=torch.float64))
    torch.testing.assert_close(model(far)["energy"], 2 * model(atom)["energy"])
    model.train()
    outputs = model(batch([atom, make_graph("molecule")]))
    (outputs["energy"].sum() + outputs["forces"].square().sum()).backward()
    frozen = make_potential().requires_grad_(False)
    assert torch.equal(frozen(atom)["forces"], torch.zeros(1, 3, dtype=torch.float64))


def test_no_atoms_in_a_graph_of_the_batch(make_potential, make_graph):
    graph = make_graph("molecule")
    empty = graph.replace(
        cell=torch.cat([graph.cell] * 2), pbc=torch.cat([graph.pbc] * 2)
    )  # the second structure has no atoms
    assert make_potential()(empty)["energy"][1] == 0.0


def test_double_backward_of_the_training_loss(make_potential, make_graph):
    """The gradient of a loss of energy, forces and stress by the parameters equals central differences."""
    model = make_potential(hidden=6, layers=2).train()
    graph = batch(
        [make_graph("crystal"), make_graph("crystal").replace(positions=make_graph("crystal").positions * 0.97)]
    )

    def loss() -> torch.Tensor:
        outputs = model(graph)
        return outputs["energy"].sum() * 1e-3 + outputs["forces"].square().sum() + 10 * outputs["stress"].square().sum()

    loss().backward()
    step = 1e-5
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        flat, index = parameter.data.view(-1), int(parameter.grad.abs().argmax())
        kept = float(flat[index])
        flat[index] = kept + step
        up = float(loss().detach())
        flat[index] = kept - step
        down = float(loss().detach())
        flat[index] = kept
        numeric = (up - down) / (2 * step)
        assert float(parameter.grad.view(-1)[index]) == pytest.approx(numeric, rel=1e-4, abs=1e-6), name


def test_hessian_of_the_callers_positions(make_potential, make_graph):
    model, graph = make_potential(), make_graph("water")
    positions = graph.positions.clone().requires_grad_(True)
    forces = model(graph.replace(positions=positions))["forces"]
    (row,) = torch.autograd.grad(forces[0, 0], positions)
    step = torch.zeros_like(graph.positions)
    step[1, 1] = 1e-4
    numeric = (
        model(graph.replace(positions=graph.positions + step))["forces"][0, 0]
        - model(graph.replace(positions=graph.positions - step))["forces"][0, 0]
    ) / 2e-4
    torch.testing.assert_close(row[1, 1], numeric, atol=1e-6, rtol=1e-6)


def test_reference_energies_keep_their_digits(make_graph, make_egnn):
    """A float32 potential with a total energy of −9391 eV agrees with float64 to 1e-4 eV."""
    numbers = {"H": -13.587222780835477, "C": -1029.4889999755127, "O": -2042.0330099956639}
    wide = Potential(make_egnn(), numbers, scale=1.3, shift=-500.123456789).eval()
    narrow = copy.deepcopy(wide).float()
    graph = make_graph("molecule")
    energy, narrow_energy = wide(graph)["energy"], narrow(graph.to(dtype=torch.float32))["energy"]
    assert energy.dtype == narrow_energy.dtype == torch.float64
    assert float(energy) < -9000
    assert abs(float(energy - narrow_energy)) < 1e-4
    e0 = sum(numbers["?HXXXXCXO"[int(z)]] for z in graph.atomic_numbers)
    assert float(energy) - e0 == pytest.approx(float(wide(graph)["interaction_energy"]), abs=1e-9)
    assert float(wide(graph)["node_energy"].sum()) == pytest.approx(float(energy), abs=1e-9)


def test_survives_float():
    table = ReferenceEnergies([1, 8], {"H": -13.587222780835477, 8: -2042.0330099956639})
    assert table.float().half().state_dict() == {}
    values = table(torch.tensor([8, 1]))
    assert values.dtype == torch.float64
    assert values.tolist() == [-2042.0330099956639, -13.587222780835477]
    assert torch.equal(ReferenceEnergies([1, 8])(torch.tensor([1, 8])), torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("energies", [{"H": -13.0}, {"H": -13.0, "O": float("nan")}, {"H": 1, "O": "x"}, {"Q": 1.0}])
def test_bad_reference_energies(energies):
    with pytest.raises(ConfigError):
        ReferenceEnergies([1, 8], energies)


def test_unknown_species_are_named(make_potential):
    graph = Graph.from_arrays([[0, 0, 0], [0, 0, 1.1]], [79, 9], cutoff=4.0, dtype=torch.float64)
    with pytest.raises(UnknownSpeciesError, match=r"never seen F, Au; it knows H, C, O"):
        make_potential()(graph)


def test_wrong_dtype(make_potential, make_graph):
    with pytest.raises(ShapeError, match=r"graph\.to\(dtype=torch\.float64\)"):
        make_potential()(make_graph(dtype=torch.float32))


def test_short_neighbour_list(make_potential, make_graph):
    """Missing neighbours raise; surplus ones change nothing."""
    model = make_potential()
    with pytest.raises(GraphError, match=r"4 Å.*ends at 3 Å"):
        model(make_graph(cutoff=3.0))
    torch.testing.assert_close(model(make_graph(cutoff=6.0))["forces"], model(make_graph())["forces"])


def test_no_atoms_at_all(make_potential):
    graph = Graph.from_arrays(torch.zeros(0, 3), [], cutoff=4.0, dtype=torch.float64)
    outputs = make_potential(zbl=True)(graph, virial=True)
    assert outputs["energy"].tolist() == [0.0]
    assert outputs["forces"].shape == (0, 3)
    assert torch.equal(outputs["virial"], torch.zeros(1, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize("key", ["scale", "shift"])
@pytest.mark.parametrize("value", [float("inf"), "much", None])
def test_scale_and_shift_are_finite(make_egnn, key, value):
    with pytest.raises(ConfigError, match="finite"):
        Potential(make_egnn(), **{key: value})


def test_wrong_backbones():
    class Vectors(Backbone):
        irreps_out = Irreps("4x1o")

    with pytest.raises(ConfigError, match="Backbone"):
        Potential(torch.nn.Linear(3, 3))
    with pytest.raises(IrrepsError, match="0e"):
        Potential(Vectors(ModelConfig(cutoff=3.0, species=[1])))


def test_float32_is_close_to_float64(make_potential, make_graph):
    wide, narrow, graph = make_potential(), make_potential().float(), make_graph("crystal")
    outputs, expected = narrow(graph.to(dtype=torch.float32), **ALL), wide(graph, **ALL)
    assert outputs["forces"].dtype == outputs["stress"].dtype == torch.float32
    for key in ("forces", "stress"):
        scale = expected[key].abs().max()
        assert float((outputs[key].double() - expected[key]).abs().max() / scale) < 1e-4
