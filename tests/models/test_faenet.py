"""FAENet: frames of degenerate structures, continuity, slabs, options, direct forces and the table of the elements."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import equitools as et
from equitools.errors import ConfigError, GraphError
from equitools.graph import Graph, batch
from equitools.models import DirectPotential, FAENet, Potential, build
from equitools.models.element_properties import GROUPS, PERIODS, PROPERTIES, standardised_properties
from equitools.models.faenet_blocks import GraphNorm
from equitools.models.frame_copies import copies_of, frames_of_graphs
from equitools.testing.acceptance import stir

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))
import element_properties as source

SMALL = {
    "cutoff": 4.0,
    "species": [1, 6, 8],
    "hidden": 28,
    "filters": 12,
    "layers": 2,
    "gaussians": 6,
    "period_group": 3,
}
TETRAHEDRON = [[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
HEXAGON = [[math.cos(k * math.pi / 3), math.sin(k * math.pi / 3), 0.0] for k in range(6)]
STRUCTURES = {
    "atom": ([[0.0, 0.0, 0.0]], [6]),
    "diatomic": ([[0.0, 0.0, 0.0], [0.0, 0.0, 1.1]], [6, 8]),
    "carbon dioxide": ([[0.0, 0.0, 0.0], [0.0, 0.0, 1.16], [0.0, 0.0, -1.16]], [6, 8, 8]),
    "methane": ([[0.0, 0.0, 0.0], *(0.63 * np.array(TETRAHEDRON)).tolist()], [6, 1, 1, 1, 1]),
    "water": ([[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.0, -0.76, -0.47]], [8, 1, 1]),
    "benzene": ([*(1.39 * np.array(HEXAGON)).tolist(), *(2.48 * np.array(HEXAGON)).tolist()], [6] * 6 + [1] * 6),
}


def small(**options: object) -> FAENet:
    torch.manual_seed(0)
    model = build("faenet", **{**SMALL, **options})
    assert isinstance(model, FAENet)
    return stir(model.double()).eval()  # type: ignore[return-value]


def orthogonal(seed: int, det: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    return matrix if det == 0.0 or float(torch.linalg.det(matrix)) * det > 0 else -matrix


def graph_of(name: str, matrix: torch.Tensor | None = None) -> Graph:
    positions, numbers = STRUCTURES[name]
    points = torch.tensor(positions, dtype=torch.float64)
    if matrix is not None:
        points = points @ matrix.T + torch.tensor([0.3, -1.2, 2.5], dtype=torch.float64)
    return Graph.from_arrays(points, numbers, cutoff=4.0, dtype=torch.float64)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("mode", ["weighted", "full", "canonical"])
@pytest.mark.parametrize("symmetry", ["E(3)", "SE(3)"])
def test_linear_molecules_and_other_degenerate_ones(name: str, mode: str, symmetry: str) -> None:
    model = Potential(small(vectors=True, symmetry=symmetry, frames_in_eval=mode))
    model = model.double().eval()
    reference = model(graph_of(name))
    vectors = model.backbone(graph_of(name))["node_features"][:, -3:].detach()
    assert torch.isfinite(reference["forces"]).all()
    for seed in range(3):
        matrix = orthogonal(seed, 1.0 if symmetry == "SE(3)" else 0.0)
        moved = model(graph_of(name, matrix))
        assert float((moved["energy"] - reference["energy"]).abs().max()) < 1e-9
        turned = model.backbone(graph_of(name, matrix))["node_features"][:, -3:].detach()
        assert float((turned - vectors @ matrix.T).abs().max()) < 1e-9
        if mode == "weighted":
            assert float((moved["forces"] - reference["forces"] @ matrix.T).abs().max()) < 1e-9
        assert torch.isfinite(moved["forces"]).all()


@pytest.mark.parametrize("name", ["carbon dioxide", "methane", "water", "benzene"])
def test_continuity(name: str) -> None:
    generator = torch.Generator().manual_seed(5)
    nudge = torch.randn(len(STRUCTURES[name][1]), 3, generator=generator, dtype=torch.float64)
    graph = graph_of(name)
    near = [graph.replace(positions=graph.positions + sign * 1e-6 * nudge) for sign in (1, -1)]
    jumps = {}
    for mode in ("weighted", "canonical"):
        model = Potential(small(frames_in_eval=mode)).double().eval()
        one, two = (model(moved)["interaction_energy"] for moved in near)
        jumps[mode] = float((one - two).abs())
    assert jumps["weighted"] < 1e-6
    if name in ("methane", "benzene"):  # the control: principal axes jump where moments coincide
        assert jumps["canonical"] > 1e-5


def test_forces_contain_the_derivative_of_the_frame() -> None:
    model = Potential(small()).double().eval()
    positions = graph_of("benzene").positions + 0.1 * torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    graph = Graph.from_arrays(positions, STRUCTURES["benzene"][1], cutoff=4.0, dtype=torch.float64)
    forces = model(graph)["forces"].detach()
    step = 1e-4
    for atom, axis in ((0, 0), (4, 1), (7, 2)):
        shift = torch.zeros_like(graph.positions)
        shift[atom, axis] = step
        up, down = (model(graph.replace(positions=graph.positions + s * shift), forces=False) for s in (1, -1))
        slope = (up["interaction_energy"] - down["interaction_energy"]).detach() / (2 * step)
        assert float((forces[atom, axis] + slope).abs()) < 1e-7
    # without a torque the energy is invariant to first order; a frame that is taken as a constant would give one
    torque = torch.linalg.cross(graph.positions, forces).sum(0)
    assert float(torque.abs().max()) < 1e-9


def test_sampled_frames_are_right_on_average() -> None:
    graph = batch([graph_of("benzene", orthogonal(1)), graph_of("methane", orthogonal(2))])
    mean = small()(graph)["node_features"].detach()
    drawn = small(frames_in_eval="sample_weighted")
    torch.manual_seed(3)
    found = torch.stack([drawn(graph)["node_features"].detach() for _ in range(200)])
    spread = found.std(0) / math.sqrt(len(found))
    assert float(spread.max()) > 1e-6  # it is drawn
    assert float(((found.mean(0) - mean).abs() / (spread + 1e-9)).max()) < 5.0


def test_training_draws_one_frame_and_evaluation_none() -> None:
    model, graph = small(), graph_of("benzene", orthogonal(4))
    assert torch.equal(model(graph)["node_features"], model(graph)["node_features"])
    model.train()
    torch.manual_seed(0)
    draws = {float(model(graph)["node_features"].detach().sum()) for _ in range(8)}
    assert len(draws) > 1


@pytest.mark.parametrize("symmetry", ["E(3)", "SE(3)"])
def test_slabs_turn_in_their_plane_only(make_graph, symmetry: str) -> None:
    model = small(dimensions=2, vectors=True, symmetry=symmetry)
    slab = make_graph("slab")
    angle = 0.7
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]], dtype=torch.float64
    )
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    tilt = torch.tensor([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    reference = model(slab)["node_features"]
    matrices = {"turn": turn, "mirror": mirror, "tilt": tilt.double()}
    errors = {}
    for name, matrix in matrices.items():
        moved = slab.replace(positions=slab.positions @ matrix.T + 1.0, cell=slab.cell @ matrix.T)
        found = model(moved)["node_features"]
        wanted = torch.cat([reference[:, :-3], reference[:, -3:] @ matrix.T], dim=1)
        errors[name] = float((found - wanted).detach().abs().max())
    assert errors["turn"] < 1e-9
    assert (errors["mirror"] < 1e-9) == (symmetry == "E(3)")
    assert errors["tilt"] > 1e-6


def test_periodic_images_and_mixed_batches(make_graph) -> None:
    model = small()
    crystal = make_graph("crystal")
    graphs = [make_graph("molecule"), crystal, make_graph("atom"), make_graph("slab"), make_graph("water")]
    together = model(batch(graphs))["node_features"]
    alone = torch.cat([model(graph)["node_features"] for graph in graphs])
    assert float((together - alone).abs().max()) < 1e-10
    positions = crystal.positions.clone()
    positions[1] += 2 * crystal.cell[0, 0] - crystal.cell[0, 2]
    image = Graph.from_arrays(
        positions, crystal.atomic_numbers, cell=crystal.cell[0], pbc=True, cutoff=4.0, dtype=torch.float64
    )
    assert float((model(image)["node_features"] - model(crystal)["node_features"]).abs().max()) < 1e-9


def test_cubic_crystal() -> None:
    cell = 3.0 * torch.eye(3, dtype=torch.float64)
    model = small(cutoff=3.5)
    found = []
    for matrix in (torch.eye(3, dtype=torch.float64), orthogonal(6), orthogonal(7)):
        graph = Graph.from_arrays(
            torch.zeros(1, 3), [6], cell=cell @ matrix.T, pbc=True, cutoff=3.5, dtype=torch.float64
        )
        found.append(model(graph)["node_features"])
    assert float((found[1] - found[0]).abs().max()) < 1e-9
    assert float((found[2] - found[0]).abs().max()) < 1e-9


def test_copies_see_the_same_lengths(make_graph) -> None:
    graph = batch([make_graph("molecule"), make_graph("atom"), make_graph("water")])
    vectors = graph.edge_vectors()
    elements, weights = frames_of_graphs(graph, vectors, torch.ones(graph.num_edges).double(), "E(3)", "weighted")
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=torch.float64))
    copies = copies_of(graph, elements, weights)
    assert int((weights > 0).sum()) == len(copies.weight)
    torch.testing.assert_close(copies.seen(vectors).norm(dim=1), vectors.norm(dim=1)[copies.edge])
    assert torch.equal(copies.node[copies.edge_index], graph.edge_index[:, copies.edge])
    assert torch.equal(copies.node_copy[copies.edge_index[0]], copies.edge_copy)
    some = torch.randn(graph.num_nodes, 4, dtype=torch.float64)
    torch.testing.assert_close(copies.average(some[copies.node], graph.num_nodes), some)
    other = torch.randn(graph.num_nodes, 3, dtype=torch.float64)
    seen = (copies.element[copies.node_copy].mT @ other[copies.node].unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(copies.average_vectors(seen, graph.num_nodes), other)


@pytest.mark.parametrize("kind", ["Potential", "DirectPotential"])
def test_runs_of_frames_change_nothing(kind: str) -> None:
    graph = batch([graph_of("water"), graph_of("atom"), graph_of("methane")])
    wrap = {"Potential": Potential, "DirectPotential": DirectPotential}[kind]
    results = []
    for edges in (10**9, 100):
        options = {"vectors": True, "graph_norm": True, "max_frames": 4000, "frames_in_training": "weighted"}
        model = wrap(small(copied_edges=edges, layers=1, **options)).double().train()
        outputs = model(graph)
        loss = outputs["forces"].square().sum() + outputs["energy"].sum()
        slopes = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
        results.append([outputs["energy"], outputs["forces"], *slopes])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert (one is None) == (two is None)
            if one is not None:
                torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-9)


def test_runs_are_as_long_as_they_may_be() -> None:
    graph = batch([graph_of("benzene"), graph_of("atom"), graph_of("water")])
    vectors = graph.edge_vectors()
    copies = copies_of(graph, *frames_of_graphs(graph, vectors, torch.ones(len(vectors)).double(), "E(3)", "weighted"))
    parts = list(copies.parts(300))
    assert len(parts) > 5
    assert max(len(part.edge) for part in parts) < 300 + 132
    for name in ("element", "weight", "node", "edge"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(copies, name))
    for part in parts:
        assert torch.equal(part.node[part.edge_index], graph.edge_index[:, part.edge])
        assert torch.equal(part.node_copy[part.edge_index[0]], part.edge_copy)


def test_too_many_frames_are_an_error() -> None:
    from ase.build import bulk, fcc111

    slab = fcc111("Pt", (2, 2, 3), vacuum=8.0)
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.05, seed=1)
    for atoms, limit in ((slab, 512), (crystal, 512)):
        graph = Graph.from_ase(atoms, cutoff=4.0, dtype=torch.float64)
        model = small(species=[29, 78], max_frames=limit)
        with pytest.raises(ConfigError, match=r'max_frames = .*dimensions=2.* sparsity .*frames_in_eval="full"'):
            model(graph)
    assert small(species=[29, 78], sparsity=0.75)(graph)["node_features"].isfinite().all()
    assert small(species=[29, 78], frames_in_eval="full", max_frames=8)(graph)["node_features"].isfinite().all()
    flat = small(species=[29, 78], dimensions=2)
    assert flat(Graph.from_ase(slab, cutoff=4.0, dtype=torch.float64))["node_features"].isfinite().all()


def test_canonical_frames_of_a_displaced_crystal_are_one() -> None:
    from ase.build import bulk

    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.rattle(0.05, seed=1)
    graph = Graph.from_ase(atoms, cutoff=4.0, dtype=torch.float64)
    vectors = graph.edge_vectors()
    for symmetry in ("E(3)", "SE(3)"):
        weights = frames_of_graphs(graph, vectors, 1 / vectors.norm(dim=1), symmetry, "canonical")[1]
        assert weights.tolist() == [[1.0]]


def test_empty_batch() -> None:
    graph = Graph.from_arrays(torch.zeros(0, 3), [], cutoff=4.0, dtype=torch.float64)
    assert small()(graph)["node_features"].shape == (0, 14)


def test_without_an_envelope_energies_jump() -> None:
    def energy(distance: float, **options: object) -> float:
        points = [[0.0, 0.0, 0.0], [0.9, 0.3, 0.0], [-0.2, 1.0, 0.4], [0.0, 0.0, distance]]
        graph = Graph.from_arrays(points, [6, 8, 1, 1], cutoff=4.0, dtype=torch.float64)
        return float(Potential(small(**options)).double().eval()(graph)["interaction_energy"].sum())

    jump = {flag: abs(energy(4.0 - 1e-7, envelope=flag) - energy(4.0 + 1e-7, envelope=flag)) for flag in (True, False)}
    assert jump[True] < 1e-5
    assert jump[False] > 1e-3


def test_graph_norm_centres_and_scales_each_graph() -> None:
    norm = GraphNorm(5).double()
    h = torch.randn(9, 5, dtype=torch.float64) * 3 + 1
    owner = torch.tensor([0] * 4 + [1] * 5)
    out = norm(h, owner, 2)
    for k in range(2):
        wanted = (h[owner == k] - h[owner == k].mean(0)) / (h[owner == k].var(0, unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(out[owner == k], wanted)


def test_simple_message_passing_needs_equal_widths() -> None:
    with pytest.raises(ConfigError, match="filters = 12 must equal hidden = 28"):
        small(message_passing="simple")
    assert small(message_passing="simple", filters=28)(graph_of("water"))["node_features"].shape == (3, 14)


def test_an_embedding_too_wide_is_an_error() -> None:
    with pytest.raises(ConfigError, match="hidden = 20 leaves no room"):
        small(hidden=20)


def test_tags() -> None:
    model = small(hidden=32, tags=4)
    graph = graph_of("water")
    with pytest.raises(GraphError, match="built with tags"):
        model(graph)
    tagged = [
        graph.replace(extras={"tags": torch.tensor(tags)}, extra_levels={"tags": "node"})
        for tags in ([0, 0, 0], [0, 1, 2], [0, 1, 3])
    ]
    assert not torch.allclose(model(tagged[0])["node_features"], model(tagged[1])["node_features"])
    with pytest.raises(GraphError, match="from 0 to 3"):
        model(tagged[2])


def test_tags_of_ase(tmp_path: Path) -> None:
    from ase import Atoms
    from ase.io import write

    from equitools import data
    from equitools.integrations.ase import EquitoolsCalculator
    from equitools.training.prepare import graphs_of

    positions, numbers = STRUCTURES["water"]
    atoms = Atoms(numbers, positions, tags=[0, 1, 2])
    write(tmp_path / "a.xyz", [atoms, atoms], format="extxyz")
    (read, again) = graphs_of(list(data.read([tmp_path / "a.xyz"])), 4.0, torch.float64)
    made = Graph.from_ase(atoms, cutoff=4.0, dtype=torch.float64, tags=True)
    assert made.extras["tags"].tolist() == read.extras["tags"].tolist() == again.extras["tags"].tolist() == [0, 1, 2]
    assert "tags" not in Graph.from_ase(atoms, cutoff=4.0).extras
    et.save(Potential(small(hidden=32, tags=4)).double().eval(), tmp_path / "model.safetensors")
    wanted = et.load(tmp_path / "model.safetensors")(batch([made, read]))
    atoms.calc = EquitoolsCalculator(tmp_path / "model.safetensors")
    np.testing.assert_allclose(wanted["energy"].detach().numpy(), atoms.get_potential_energy(), atol=1e-10)
    np.testing.assert_allclose(wanted["forces"].detach().numpy()[:3], atoms.get_forces(), atol=1e-10)
    many = atoms.calc.evaluate_many([atoms])[0]["energy"]
    assert many == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    before = atoms.get_potential_energy()
    atoms.set_tags([0, 0, 1])
    assert abs(atoms.get_potential_energy() - before) > 1e-6
    atoms.set_tags([1, 2, 3])
    with pytest.raises(GraphError, match="from 1 to 3"):
        atoms.get_potential_energy()


def test_frames_that_do_not_fit_are_warned_of() -> None:
    from equitools.integrations.ase import EquitoolsCalculator

    with pytest.warns(UserWarning, match='"sample" and "full"'):
        small(frames_in_training="sample")
    with pytest.warns(UserWarning, match="at random in evaluation"):
        EquitoolsCalculator(Potential(small(frames_in_eval="sample", frames_in_training="sample")))


@pytest.mark.parametrize(
    "option",
    [
        {"message_passing": "updownscale"},
        {"message_passing": "base"},
        {"second_layer": False},
        {"complex_mp": True},
        {"graph_norm": True},
        {"skip": "none"},
        {"skip": "add"},
        {"skip": "concat_atom"},
        {"energy_head": "weighted-av-initial-embeds"},
        {"energy_head": "weighted-av-final-embeds"},
        {"period_group": 2},
        {"physical": False},
        {"physical_hidden": 5},
        {"envelope": False},
        {"symmetry": "SE(3)"},
        {"dimensions": 2},
        {"frames_in_eval": "full"},
        {"gaps": None},
        {"avg_num_neighbors": 4.0},
        {"gaussians": 7},
    ],
    ids=str,
)
def test_every_option_changes_the_function(option: dict[str, object]) -> None:
    """With the same numbers in all parameters that both networks have."""
    # so little off its symmetry that weighted frames are a blend of both kinds
    graph = graph_of("benzene", orthogonal(5))
    nudge = torch.randn(12, 3, generator=torch.Generator().manual_seed(3))
    graph = graph.replace(positions=graph.positions + 0.05 * nudge)
    one, two = small(), small(**option)
    own = two.state_dict()
    shared = {k: v for k, v in one.state_dict().items() if k in own and own[k].shape == v.shape}
    two.load_state_dict(shared, strict=False)
    assert float((two(graph)["node_features"] - one(graph)["node_features"]).detach().abs().max()) > 1e-6


@pytest.mark.parametrize("mode", ["weighted", "full"])
def test_direct_forces(mode: str) -> None:
    model = DirectPotential(small(vectors=True, frames_in_eval=mode)).double().eval()
    graph, matrix = graph_of("benzene"), orthogonal(8)
    graph = graph.replace(
        positions=graph.positions + 0.05 * torch.randn(12, 3, generator=torch.Generator().manual_seed(2))
    )
    moved = graph.replace(positions=graph.positions @ matrix.T - 1.0)
    one, two = model(graph, gradient=True), model(moved, gradient=True)
    assert float((two["forces"] - one["forces"] @ matrix.T).abs().max()) < 1e-9
    true = Potential(small(vectors=True, frames_in_eval=mode)).double().eval()
    true.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("vectors.")})
    torch.testing.assert_close(one["energy_gradient_forces"], true(graph)["forces"])
    assert float((one["forces"] - one["energy_gradient_forces"]).abs().max()) > 1e-4  # not conservative
    with pytest.raises(GraphError, match="no stress"):
        model(graph, stress=True)


def test_direct_forces_without_edges_are_zero() -> None:
    model = DirectPotential(small(vectors=True)).double().eval()
    points = torch.tensor([[0.0, 0, 0], [9, 0, 0], [0, 9, 0]])
    graph = Graph.from_arrays(points, [6, 8, 1], cutoff=4.0, dtype=torch.float64)
    outputs = model(graph, gradient=True)
    assert float(outputs["forces"].abs().max()) == 0.0
    assert float(outputs["energy_gradient_forces"].abs().max()) == 0.0


def test_direct_potential_round_trip(tmp_path: Path) -> None:
    model = DirectPotential(small(vectors=True), {1: -13.0, 6: -1000.0, 8: -2000.0}, scale=1.5).double().eval()
    et.save(model, tmp_path / "model.safetensors")
    loaded = et.load(tmp_path / "model.safetensors")
    assert type(loaded) is DirectPotential
    for name, value in model(graph_of("water")).items():
        assert torch.equal(value, loaded(graph_of("water"))[name]), name


def test_calculator(tmp_path: Path) -> None:
    from ase import Atoms

    from equitools.integrations.ase import EquitoolsCalculator

    positions, numbers = STRUCTURES["water"]
    for kind in (Potential, DirectPotential):
        et.save(kind(small(vectors=True)).eval(), tmp_path / "model.safetensors")
        atoms = Atoms(numbers, positions, calculator=EquitoolsCalculator(tmp_path / "model.safetensors"))
        forces = atoms.get_forces()
        assert np.isfinite(forces).all()
        atoms.set_cell([9.0, 9.0, 9.0])
        atoms.pbc = True
        assert atoms.get_forces().shape == (3, 3)
        assert "stress" in atoms.calc.results or kind is DirectPotential


def test_standardised() -> None:
    table = standardised_properties()
    assert table.shape == (119, len(PROPERTIES)) == (119, 14)
    for name, column in zip(PROPERTIES, table[1:].T, strict=True):
        raw = torch.tensor(source.columns()[name], dtype=torch.float64)
        known = torch.cat([~raw.isnan(), torch.zeros(22, dtype=torch.bool)])
        assert abs(float(column[known].mean())) < 1e-12
        assert abs(float(column[known].var(unbiased=False)) - 1) < 1e-12
        assert float(column[~known].abs().sum()) == 0.0
    assert float(table[0].abs().max()) == 0.0


def test_the_table_of_the_elements_is_what_its_script_writes() -> None:
    assert source.TARGET.read_text(encoding="utf-8") == source.table()
    assert (PERIODS[7], GROUPS[7]) == (2, 16)  # oxygen
    assert (PERIODS[25], GROUPS[25]) == (4, 8)  # iron
    assert (PERIODS[63], GROUPS[63]) == (6, 19)  # gadolinium
    assert (PERIODS[1], GROUPS[1]) == (1, 18)  # helium
    assert (PERIODS[78], GROUPS[78]) == (6, 11)  # gold
    assert [source.columns()["valence"][z - 1] for z in (1, 6, 8, 26, 35)] == [1, 4, 6, 8, 7]
