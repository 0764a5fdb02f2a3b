"""The report passes what is right, and names what is broken under the right heading."""

from __future__ import annotations

import copy
import json

import broken_models as bm
import pytest
import torch

from equitools.errors import EquitoolsError, GraphError, ShapeError, UnknownNameError
from equitools.graph import Graph
from equitools.testing import build_graph, equivariance_report, random_crystal, random_molecule
from equitools.testing.structures import Structure

SPECIES = (1, 6, 8)
TURNS = {"rotation", "inversion", "reflection"}


def molecule_graph(size: int = 7, dtype: torch.dtype = torch.float32) -> Graph:
    return build_graph([random_molecule(SPECIES, size)], 4.0, dtype)


def crystal_graph() -> Graph:
    return build_graph([random_crystal(SPECIES, 4)], 4.0)


@pytest.mark.parametrize("group", ["E(3)", "SE(3)", "O(3)", "SO(3)", "T(3)", "S_n"])
@pytest.mark.parametrize("graph", [molecule_graph(), crystal_graph()], ids=["molecule", "crystal"])
def test_a_correct_model_passes(group, graph):
    report = equivariance_report(bm.PairPotential(), graph, group)
    assert report.passed, str(report)
    assert report.worst < 1e-10
    assert not report.failures
    assert report.broken == ()
    assert "passed" in str(report)


def test_a_correct_model_passes_in_its_own_dtype():
    report = equivariance_report(bm.PairPotential(), molecule_graph(), dtype=None)
    assert report.passed
    assert report.dtype == torch.float32
    assert 1e-9 < report.worst < 1e-3


#: The broken model, the structure on which it shows, and the kinds of transformation that must be flagged.
BROKEN = [
    (bm.AbsoluteCoordinates, "molecule", TURNS | {"translation"}),
    (bm.PerAxisReLU, "molecule", TURNS),
    (bm.BiasedVectors, "molecule", TURNS),
    (bm.MeanOverWrongAxis, "molecule", {"rotation", "reflection", "translation"}),
    (bm.SummedComponents, "molecule", TURNS),
    (bm.OrderMatters, "molecule", {"permutation"}),
    (bm.PseudoScalar, "molecule", {"inversion", "reflection"}),
    (bm.WrongParityFeatures, "molecule", {"inversion", "reflection"}),
    (bm.ForgetsCellShifts, "crystal", None),
]


@pytest.mark.parametrize(("model", "where", "kinds"), BROKEN, ids=[entry[0].__name__ for entry in BROKEN])
def test_flags_broken_models(model, where, kinds):
    """Property: a model with a known error gets a failed row under the right heading, and no other kind fails."""
    graph = molecule_graph() if where == "molecule" else crystal_graph()
    report = equivariance_report(model(), graph, "E(3)")
    assert not report.passed
    assert "BROKEN" in str(report)
    if kinds is not None:
        assert set(report.broken) == kinds, str(report)
    assert report.worst > 1e-8
    assert report.worst_row.absolute > 0


def test_a_forgotten_cell_shift_is_a_failed_lattice_translation():
    report = equivariance_report(bm.ForgetsCellShifts(), crystal_graph(), "T(3)")
    assert set(report.broken) == {"lattice translation"}


def test_parity_violation_passes_rotations_only():
    model, graph = bm.PseudoScalar(), molecule_graph()
    assert equivariance_report(model, graph, "SE(3)").passed
    assert equivariance_report(model, graph, "SO(3)").passed
    assert not equivariance_report(model, graph, "O(3)").passed
    assert set(equivariance_report(model, graph, "E(3)").broken) == {"inversion", "reflection"}


def test_rattling_uncovers_a_parity_violation_in_a_planar_molecule():
    angle = torch.arange(6, dtype=torch.float64) * torch.pi / 3
    ring = 1.39 * torch.stack([angle.cos(), angle.sin(), torch.zeros(6, dtype=torch.float64)], 1)
    graph = build_graph([Structure(ring, torch.tensor([6, 6, 6, 6, 6, 8]))], 4.0)
    assert equivariance_report(bm.PseudoScalar(), graph, "O(3)", rattle=0.0, outputs=["energy"]).passed
    assert not equivariance_report(bm.PseudoScalar(), graph, "O(3)", outputs=["energy"]).passed


def test_dropout_in_evaluation_is_flagged_as_not_repeatable():
    assert "same call twice" in equivariance_report(bm.AlwaysDropout(), molecule_graph()).broken


def test_the_worst_irrep_is_named():
    row = equivariance_report(bm.WrongParityFeatures(), molecule_graph()).worst_row
    assert (row.output, row.part) == ("node_features", "1o")
    assert "node_features (1o) under" in str(row)


def test_leaves_model_alone():
    """Property: parameters, dtype, mode and device of the model do not change; neither does the graph."""
    model, graph = bm.PairPotential().train(), molecule_graph()
    state, positions = copy.deepcopy(model.state_dict()), graph.positions.clone()
    equivariance_report(model, graph)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(value.dtype == torch.float32 for value in model.parameters())
    assert torch.equal(graph.positions, positions)


def test_same_seed_same_report():
    model, graph = bm.PairPotential(), molecule_graph()
    assert equivariance_report(model, graph, seed=3) == equivariance_report(model, graph, seed=3)


def test_not_a_number_is_broken():
    report = equivariance_report(bm.NotANumberAlone(), build_graph([random_molecule(SPECIES, 1)], 4.0))
    assert not report.passed
    assert "not finite" in str(report.worst_row)
    assert json.dumps(report.to_dict(), allow_nan=False)


class Zero(bm.PairPotential):
    def node_energies(self, graph):
        energies, vectors = super().node_energies(graph)
        return 0.0 * energies, vectors


def test_a_model_that_gives_zero_is_said_to_show_nothing():
    report = equivariance_report(Zero(), molecule_graph())
    assert "nothing was shown" in str(report)
    assert "zero output" in str(report)


class WithVelocity(torch.nn.Module):
    """Outputs of several declared behaviours, from positions, velocities and a charge."""

    cutoff = 4.0

    def forward(self, graph):
        v = graph.extras["velocities"]
        spread = torch.zeros(graph.num_nodes, 3, dtype=v.dtype)
        spread = spread.index_add(0, graph.edge_index[1], graph.edge_vectors())
        charge = graph.extras["total_charge"][graph.batch][:, None]
        return {
            "positions": graph.positions + 0.1 * v * charge,
            "velocities": v + spread,
            "spin": torch.linalg.cross(v, spread),
            "handedness": (torch.linalg.cross(v, spread) * spread[graph.edge_index[0][0]]).sum(1),
        }


def with_inputs() -> Graph:
    first, second = random_molecule(SPECIES, 5, 1), random_molecule(SPECIES, 4, 2)
    graph = build_graph([first, second], 4.0)
    generator = torch.Generator().manual_seed(0)
    velocities = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    return graph.replace(velocities=velocities, total_charge=torch.tensor([1.0, 2.0], dtype=torch.float64))


def test_points_and_extra_inputs_move_with_the_structure():
    report = equivariance_report(
        WithVelocity(), with_inputs(), outputs={"spin": ("node", "pseudovector"), "handedness": ("node", "scalar")}
    )
    assert {row.output for row in report.failures} <= {"handedness"}
    names = ["positions", "velocities"]
    assert equivariance_report(WithVelocity(), with_inputs(), outputs=names).passed


def test_declared_irreps():
    outputs = {"spin": ("node", "1e"), "handedness": ("node", "pseudoscalar")}
    report = equivariance_report(WithVelocity(), with_inputs(), "O(3)", outputs=outputs)
    assert not [row for row in report.failures if row.output == "spin"]
    wrong = equivariance_report(
        WithVelocity(), with_inputs(), "O(3)", outputs={"spin": ("node", "1o"), "handedness": ("node", "scalar")}
    )
    assert {row.transformation for row in wrong.failures if row.output == "spin"} == {"inversion", "reflection"}


def test_user_mistakes():
    model, graph = bm.PairPotential(), molecule_graph()
    with pytest.raises(UnknownNameError, match=r"E\(3\)"):
        equivariance_report(model, graph, "E3")
    with pytest.raises(UnknownNameError, match="force"):
        equivariance_report(model, graph, outputs=["force"])
    with pytest.raises(ShapeError, match="at least one trial"):
        equivariance_report(model, graph, trials=0)
    with pytest.raises(UnknownNameError, match="Declare it"):
        equivariance_report(WithVelocity(), with_inputs())
    with pytest.raises(GraphError, match="at least one atom"):
        equivariance_report(model, graph.replace(positions=torch.zeros(0, 3)))


class NoDict(torch.nn.Module):
    cutoff = 4.0

    def forward(self, graph):
        return graph.positions


def test_an_output_that_is_no_dict_is_refused():
    with pytest.raises(EquitoolsError, match="must return a dict"):
        equivariance_report(NoDict(), molecule_graph())
