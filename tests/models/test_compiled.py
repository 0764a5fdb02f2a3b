"""The inference path: one compiled operation gives what the potential gives."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import random
import subprocess
import sys
import threading

import pytest
import torch

from equitools.errors import ConfigError, GraphError, ShapeError, UnknownSpeciesError
from equitools.graph import Graph, batch
from equitools.models import CompiledPotential, Potential, build, compile_potential
from equitools.models import compiled as module
from equitools.models.compiled import obstacle
from equitools.models.many_body_mp import ManyBodyMP
from equitools.models.radial_tables import tabulate
from equitools.ops import use_backend
from equitools.ops.backend import extension_loaded

pytestmark = pytest.mark.skipif(not extension_loaded(), reason="the kernels are not built")

KINDS = ("molecule", "crystal", "slab", "atom", "water")
E0 = {"H": -13.58, "C": -1029.0, "N": -1485.0, "O": -2043.0}


def make(dtype: torch.dtype = torch.float64, zbl: bool = False, seed: int = 0, **config: object) -> Potential:
    torch.manual_seed(seed)
    chosen = {"cutoff": 4.0, "species": [1, 6, 8], "channels": 4, "l_max": 2, "num_radial": 6, **config}
    net = build("many_body_mp", **{"radial_hidden": (20,), **chosen})
    return Potential(net, E0, scale=2.0, shift=-0.3, zbl=zbl).to(dtype).eval()


def pair(distance: float | torch.Tensor, numbers: tuple[int, int] = (6, 8)) -> Graph:
    """Return two atoms with both edges, whatever their distance."""
    one = Graph.from_arrays([[0.0, 0, 0], [1.0, 0, 0]], numbers, cutoff=4.0, dtype=torch.float64)
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    return one.replace(positions=torch.stack([torch.zeros(3, dtype=torch.float64), direction * distance]))


def assert_same(ours: dict, theirs: dict, tolerance: float) -> None:
    """Same names, shapes and dtypes; numbers to a part of the largest."""
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype, name
        assert ours[name].shape == value.shape, name
        scale = 2e-2 + (float(value.detach().abs().max()) if value.numel() else 0.0)
        torch.testing.assert_close(ours[name], value, atol=tolerance * scale, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


# ---- equality with the potential -----------------------------------------------------------------------------------

CONFIGS = [
    {"num_layers": 1, "hidden_lmax": 0, "l_max": 0, "correlation": 1, "channels": 1, "radial_hidden": ()},
    {"num_layers": 1, "l_max": 4, "correlation": 1, "channels": 3},
    {"num_layers": 2, "hidden_lmax": 2, "l_max": 2, "correlation": 4, "channels": 3, "radial_hidden": (64, 64, 64)},
    {"num_layers": 2, "hidden_lmax": 1, "l_max": 3, "correlation": 3, "channels": 17, "radial_hidden": (64, 64)},
    {"num_layers": 2, "hidden_lmax": 1, "l_max": 1, "correlation": 2, "channels": 32, "residual_first": True},
    {"num_layers": 2, "hidden_lmax": 0, "l_max": 4, "correlation": 2, "channels": 3, "radial_hidden": (5,)},
    {"num_layers": 3, "hidden_lmax": 2, "l_max": 2, "correlation": 2, "channels": 17, "residual_first": True},
    {"num_layers": 3, "hidden_lmax": 0, "l_max": 1, "correlation": 4, "channels": 1, "num_radial": 1, "envelope_p": 2},
    {"num_layers": 2, "hidden_lmax": 1, "l_max": 1, "correlation": 3, "species": [1, 6, 7, 8], "zbl": True},
    {"num_layers": 1, "hidden_lmax": 2, "l_max": 2, "residual_first": True, "num_radial": 64, "envelope_p": 64},
]


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-5)])
def test_equals_potential(make_graph, config, dtype, tolerance):
    model = make(dtype, **config)
    fast = compile_potential(model)
    for kind in KINDS:
        graph = make_graph(kind, dtype)
        assert_same(fast(graph, virial=True), model(graph, virial=True), tolerance)


@pytest.mark.parametrize("zbl", [False, True])
def test_batch_of_all_kinds(make_graph, zbl):
    model = make(zbl=zbl)
    together = batch([make_graph(kind) for kind in ("atom", *KINDS, "crystal")])
    fast = compile_potential(model)
    assert_same(fast(together, virial=True), model(together, virial=True), 1e-12)
    assert_same(fast(together, stress=True), model(together, stress=True), 1e-12)


@pytest.mark.parametrize("zbl", [False, True])
def test_outputs_asked_for(make_graph, zbl):
    model = make(zbl=zbl)
    fast = compile_potential(model)
    for kind in ("crystal", "slab", "molecule"):
        for forces, stress, virial in itertools.product((False, True), (None, False, True), (None, False, True)):
            if stress and kind == "molecule":
                continue
            asked = {"forces": forces, "stress": stress, "virial": virial}
            assert_same(fast(make_graph(kind), **asked), model(make_graph(kind), **asked), 1e-12)


@pytest.mark.parametrize("zbl", [False, True])
@pytest.mark.parametrize("radial", ["exact", "tabulated"])
def test_no_edges_and_no_atoms(make_graph, zbl, radial):
    model = make(zbl=zbl)
    fast = compile_potential(model, radial)
    far = Graph.from_arrays(
        [[0, 0, 0], [0, 0, 40.0]], [6, 6], cell=[99, 99, 99], pbc=True, cutoff=4.0, dtype=torch.float64
    )
    nothing = Graph.from_arrays(torch.zeros(0, 3), [], cutoff=4.0, dtype=torch.float64)
    last = make_graph("molecule")  # its second structure has no atoms
    last = last.replace(cell=torch.cat([last.cell] * 2), pbc=torch.cat([last.pbc] * 2))
    for graph in (make_graph("atom"), far, nothing, batch([make_graph("atom")] * 3)):
        assert_same(fast(graph, virial=True), model(graph, virial=True), 1e-12)
        assert not fast(graph)["forces"].any()
    assert_same(fast(last, virial=True), model(last, virial=True), 1e-12 if radial == "exact" else 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unsorted_edges(make_graph, dtype):
    model = make(dtype, zbl=True)
    graph = make_graph("crystal", dtype)
    order = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(1))
    shuffled = graph.replace(edge_index=graph.edge_index[:, order], edge_shift=graph.edge_shift[order])
    fast = compile_potential(model)
    tolerance = 1e-12 if dtype == torch.float64 else 5e-5
    assert_same(fast(shuffled, virial=True), model(shuffled, virial=True), tolerance)
    strided = graph.replace(edge_index=graph.edge_index.T.contiguous().T)  # not contiguous
    assert_same(fast(strided), fast(graph), 0.0)


@pytest.mark.parametrize("radial", ["exact", "tabulated"])
def test_lengths_near_the_cutoff_and_at_zero(radial):
    model = make()
    fast = compile_potential(model, radial)
    tolerance = 1e-12 if radial == "exact" else 1e-6
    free = model(pair(9.0))
    for distance in (0.0, 1e-2, 3.9, 4.0 - 1e-6, 4.0 - 1e-12, 4.0, 4.0 + 1e-9, 5.0):
        expected, found = model(pair(distance), virial=True), fast(pair(distance), virial=True)
        assert_same(found, expected, tolerance)
        if distance >= 4.0:
            torch.testing.assert_close(found["energy"], free["energy"], rtol=0, atol=1e-10)
            assert not found["forces"].any()


def test_positions_that_are_no_numbers_stay_visible(make_graph):
    """Also with tables and without harmonics, where a length that is no number would otherwise be one beyond."""
    model = make(l_max=0, hidden_lmax=0)
    graph = make_graph("molecule")
    graph.positions[0, 0] = torch.nan
    for radial in ("exact", "tabulated"):
        assert compile_potential(model, radial)(graph)["energy"].isnan().all()


@pytest.mark.parametrize("radial", ["exact", "tabulated"])
def test_equivariance(make_graph, moved, rotation, radial):
    fast = compile_potential(make(hidden_lmax=2), radial)
    for kind in ("molecule", "crystal"):
        graph = make_graph(kind)
        before, after = fast(graph, virial=True), fast(moved(graph, rotation), virial=True)
        torch.testing.assert_close(after["energy"], before["energy"], atol=1e-9, rtol=0)
        torch.testing.assert_close(after["forces"], before["forces"] @ rotation.T, atol=1e-10, rtol=1e-9)
        torch.testing.assert_close(after["virial"], rotation @ before["virial"] @ rotation.T, atol=1e-10, rtol=1e-9)


# ---- tables --------------------------------------------------------------------------------------------------------


def exact_weights(net: ManyBodyMP, layer: int, r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights of edges of lengths r, and their derivatives: [n, weights]."""
    interaction = net.interactions[layer]

    def weights(lengths: torch.Tensor) -> torch.Tensor:
        radial = net.basis(lengths, net.envelope, scale=net.config.cutoff**0.5)
        return interaction.radial.hidden(radial) @ interaction.radial.last_weight()

    with use_backend("reference"), torch.no_grad():
        return torch.func.jvp(weights, (r,), (torch.ones_like(r),))


def hermite(table: torch.Tensor, cutoff: float, r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Evaluate a table by solving for the quintic polynomial of each interval: independent of what wrote it."""
    conditions = torch.zeros(6, 6, dtype=torch.float64)  # value, slope, curvature at 0 and at 1
    for k in range(6):
        conditions[:, k] = torch.tensor([k == 0, 1, k == 1, k, 2 * (k == 2), k * (k - 1)], dtype=torch.float64)
    left, difference, slope0, slope1, curve0, curve1 = table.unbind(1)
    given = torch.stack([left, left + difference, slope0, slope1, curve0, curve1], 1)
    polynomials = torch.linalg.solve(conditions, given)  # [intervals, 6, functions]
    place = r * len(table) / cutoff
    index = place.long().clamp(max=len(table) - 1)
    powers = torch.stack([(place - index) ** k for k in range(6)], 1)
    slopes = torch.stack([k * (place - index) ** max(k - 1, 0) for k in range(6)], 1)
    chosen = polynomials[index]
    value = torch.einsum("nk,nkf->nf", powers, chosen)
    return value, torch.einsum("nk,nkf->nf", slopes, chosen) * len(table) / cutoff


@pytest.mark.parametrize("tolerance", [1e-3, 1e-7])
@pytest.mark.parametrize("hidden", [(), (20,), (64, 64, 64)])
def test_reported_error_bounds_hold(hidden, tolerance):
    """On random lengths, other ones than those at which the bound was made."""
    net = make(radial_hidden=hidden, num_layers=2).backbone
    r = 4.0 * torch.rand(30_000, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    r = torch.cat([r, torch.tensor([0.0, 1e-12, 4.0 - 1e-9, 4.0], dtype=torch.float64)])
    for layer in range(2):
        made = tabulate(net, layer, tolerance)
        assert max(made.error, made.slope_error) <= tolerance
        assert made.table.shape == (made.intervals, 6, made.functions)
        exact = exact_weights(net, layer, r)
        for found, expected, bound in zip(
            hermite(made.table, 4.0, r), exact, (made.error, made.slope_error), strict=True
        ):
            error = (found @ made.weight - expected).abs().max() / expected.abs().max()
            assert error <= bound * (1 + 1e-3) + 1e-13


@pytest.mark.parametrize("config", [{}, {"channels": 16, "l_max": 3, "radial_hidden": (64, 64)}, {"num_layers": 3}])
def test_tables_change_forces_by_less_than_a_millionth(make_graph, config):
    """Relative to the root mean square force, at the default tolerance, in float64."""
    model = make(**config)
    exact, fast = compile_potential(model), compile_potential(model, "tabulated")
    assert len(fast.tables) == model.backbone.config.num_layers
    assert exact.tables == []
    for kind in ("molecule", "crystal", "water"):
        a, b = exact(make_graph(kind), virial=True), fast(make_graph(kind), virial=True)
        for name in ("forces", "virial"):
            assert (a[name] - b[name]).norm() <= 1e-6 * a[name].norm()
        assert (a["energy"] - b["energy"]).abs() <= 1e-6 * a["interaction_energy"].abs().max()


@pytest.mark.parametrize("radial", ["exact", "tabulated"])
@pytest.mark.parametrize("kind", ["molecule", "crystal"])
def test_conservative(make_graph, kind, radial):
    """Forces and virial are derivatives of the energy that is reported, that of the tables too (a coarse one here)."""
    graph, step = make_graph(kind), 1e-4
    model = make(zbl=True)
    fast = compile_potential(model, radial, tolerance=1e-2)
    if radial == "tabulated":  # the tables differ from the network, so this tells the two derivatives apart
        assert (fast(graph)["energy"] - model(graph)["energy"]).abs() > 1e-9
    outputs = fast(graph, virial=True)
    for index, axis in itertools.product(range(graph.num_nodes), range(3)):
        shift = torch.zeros_like(graph.positions)
        shift[index, axis] = step
        up, down = (fast(graph.replace(positions=graph.positions + s * shift), forces=False) for s in (1, -1))
        slope = (up["energy"] - down["energy"]) / (2 * step)
        torch.testing.assert_close(outputs["forces"][index, axis], -slope[0], atol=2e-6, rtol=1e-6)
    for i, j in ((0, 0), (1, 2)):
        strain = torch.zeros(3, 3, dtype=torch.float64)
        strain[i, j] += 0.5 * step
        strain[j, i] += 0.5 * step
        energies = []
        for s in (1, -1):
            matrix = torch.eye(3, dtype=torch.float64) + s * strain
            moved = graph.replace(positions=graph.positions @ matrix, cell=graph.cell @ matrix)
            energies.append(fast(moved, forces=False)["energy"])
        slope = (energies[0] - energies[1]) / (2 * step)
        torch.testing.assert_close(outputs["virial"][0, i, j], -slope[0], atol=5e-6, rtol=1e-6)


def test_float32_tables(make_graph):
    model = make(torch.float32)
    fast = compile_potential(model, "tabulated", tolerance=1e-6)
    assert all(t.table.dtype == torch.float64 for t in fast.tables)
    for kind in KINDS:
        graph = make_graph(kind, torch.float32)
        assert_same(fast(graph, virial=True), model(graph, virial=True), 5e-5)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan"), 1e-19])
def test_tolerances_that_no_table_reaches(tolerance):
    with pytest.raises(ConfigError, match="table"):
        compile_potential(make(radial_hidden=(3,), num_layers=1, channels=1), "tabulated", tolerance)


# ---- repetition, threads, memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("radial", ["exact", "tabulated"])
def test_deterministic(make_graph, radial):
    fast, graph = compile_potential(make(torch.float32, zbl=True), radial), make_graph("crystal", torch.float32)
    first = fast(graph, virial=True)
    for _ in range(3):
        again = fast(graph, virial=True)
        assert all(torch.equal(first[name], again[name]) for name in first)


def test_threads_change_nothing_but_rounding(make_graph):
    model = make(channels=16)
    graph = batch([make_graph("molecule"), make_graph("crystal")] * 8)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            results.append(compile_potential(model)(graph, virial=True))
    finally:
        torch.set_num_threads(before)
    assert_same(results[1], results[0], 1e-12)
    assert all(torch.equal(results[0][name], results[2][name]) for name in results[0])


@pytest.mark.parametrize("radial", ["exact", "tabulated"])
def test_bigger_and_smaller_systems_in_turn(make_graph, monkeypatch, radial):
    model = make(zbl=True)
    sizes = [1, 6, 2, 12, 1, 30]
    graphs = [batch([make_graph("molecule")] * n) for n in sizes]
    fast = compile_potential(model, radial)
    found = [fast(graph) for graph in graphs]
    for graph, outputs in zip(graphs, found, strict=True):
        assert_same(copy.deepcopy(fast)(graph), outputs, 0.0)
    if radial == "tabulated":  # read twice, and never written down
        assert fast._rooms == []
        return
    room = fast._rooms[0]
    fast(graphs[0], forces=False)
    fast(graphs[0])
    assert fast._rooms[0] is room
    monkeypatch.setattr(module, "_MOST_BYTES", 0)  # the weights are made twice
    fast._rooms.clear()
    for graph, outputs in zip(graphs, found, strict=True):
        assert_same(fast(graph), outputs, 1e-13)
    assert fast._rooms == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 8, 17])
def test_workspace_is_used(make_graph, dtype, channels):
    """What `_workspace` gives is enough for the operation: filled with NaN before, all of what is read is written."""
    fast, graph = compile_potential(make(dtype, channels=channels)), make_graph("molecule", dtype)
    expected = fast(graph)
    needed = graph.num_edges * fast._program.room
    fast._rooms = [torch.full((needed,), torch.nan, dtype=dtype)]
    assert_same(fast(graph), expected, 0.0)
    assert not fast._rooms[0].isnan().all()
    fast._rooms = [torch.full((needed + 1,), torch.nan, dtype=dtype)[1:]]  # not aligned
    assert_same(fast(graph), expected, 0.0)


def test_several_threads_share_one_object(make_graph):
    fast = compile_potential(make(channels=16))
    graphs = [batch([make_graph(kind)] * 6) for kind in ("molecule", "crystal", "water")]
    expected = [fast(graph, virial=True) for graph in graphs]
    wrong = []

    def work(graph: Graph, outputs: dict) -> None:
        for _ in range(25):
            again = fast(graph, virial=True)
            if any((again[name] - value).abs().max() > 1e-9 for name, value in outputs.items()):
                wrong.append(graph.num_nodes)

    threads = [threading.Thread(target=work, args=case) for case in zip(graphs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_copies_and_pickles(make_graph):
    fast, graph = compile_potential(make(zbl=True), "tabulated"), make_graph("crystal")
    expected = fast(graph)
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):  # noqa: S301 - its own
        assert other._rooms == []
        assert_same(other(graph), expected, 0.0)


def test_later_changes_of_the_potential_do_not_reach_it(make_graph):
    model, graph = make(zbl=True), make_graph("crystal")
    fast = compile_potential(model)
    expected = fast(graph)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    model.scale, model.shift = 7.0, 8.0
    model.zbl.cutoff = 0.5
    model.reference.energies[6] = 3.0
    model.float().train()
    assert_same(fast(graph), expected, 0.0)
    assert not any(parameter.requires_grad for parameter in fast.parameters())


def test_the_potential_is_not_changed(make_graph):
    model = make().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    compile_potential(model, "tabulated")(make_graph("crystal"))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("zbl", [False, True])
@pytest.mark.parametrize("radial", ["exact", "tabulated"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_modes_of_evaluation(make_graph, mode, radial, zbl):
    model, graph = make(zbl=zbl), make_graph("crystal")
    expected = compile_potential(model, radial)(graph)
    with mode():
        names = ("positions", "cell", "edge_index", "edge_shift", "atomic_numbers", "batch", "pbc")
        inside = graph.replace(**{name: getattr(graph, name).clone() for name in names})
        fast = compile_potential(model, radial)
        assert_same(fast(inside), expected, 1e-13)
    for outputs in (fast(graph), fast(graph.replace(positions=graph.positions.clone().requires_grad_()))):
        assert_same(outputs, expected, 1e-13)
        assert not any(value.requires_grad for value in outputs.values())
    with mode():
        assert_same(fast(inside), expected, 1e-13)


# ---- what has no compiled form, and errors -------------------------------------------------------------------------


class Inherited(Potential):
    pass


class InheritedNet(ManyBodyMP):
    pass


def learned_frequencies() -> Potential:
    model = make()
    model.backbone.basis.frequencies = torch.nn.Parameter(torch.arange(1.0, 7.0, dtype=torch.float64))
    return model


def mixed_dtypes() -> Potential:
    model = make()
    model.readout.float()
    return model


def hooked() -> Potential:
    model = make()
    model.backbone.interactions[0].register_forward_hook(lambda *_: None)
    return model


def parametrised() -> Potential:
    model = make()
    torch.nn.utils.parametrizations.weight_norm(model.readout.mlp[0])
    return model


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: torch.nn.Linear(2, 2), "not a Potential"),
        (lambda: make().backbone, "not a Potential"),
        (lambda: Inherited(make().backbone), "not a Potential"),
        (lambda: Potential(build("egnn", cutoff=4.0, species=[1])), "EGNN"),
        (lambda: Potential(InheritedNet(make().backbone.config)), "InheritedNet"),
        (lambda: make(l_max=7, correlation=1, hidden_lmax=0, num_layers=1, channels=1), "degrees up to"),
        (learned_frequencies, "learned"),
        (lambda: make(num_radial=65), "radial functions"),
        (lambda: make(envelope_p=65), "exponent"),
        (lambda: make(radial_hidden=(2,) * 17), "hidden layers"),
        (lambda: make(product="gaunt"), "Gaunt products"),
        (lambda: make(convolution="gaunt"), "Gaunt products"),
        (lambda: make().to("meta"), "meta"),
        (lambda: make(torch.bfloat16), "bfloat16"),
        (mixed_dtypes, "different dtypes"),
        (hooked, "hooks"),
        (parametrised, "parametri"),
    ],
)
def test_obstacles(made, words):
    model = made()
    assert words in obstacle(model)
    with pytest.raises(ConfigError, match=words):
        compile_potential(model)


def test_obstacles_of_the_environment(monkeypatch):
    model = make()
    assert obstacle(model) == ""
    with use_backend("reference"):
        assert "reference backend" in obstacle(model)
    monkeypatch.setattr(module.backend, "extension_loaded", lambda: False)
    assert "not built" in obstacle(model)


@pytest.mark.parametrize("limit", [{"num_radial": 64}, {"envelope_p": 64}, {"radial_hidden": (2,) * 16}])
def test_limits_are_those_of_the_operation(make_graph, limit):
    model, graph = make(num_layers=1, **limit), make_graph("water")
    assert_same(compile_potential(model)(graph), model(graph), 1e-12)


def test_unknown_radial():
    with pytest.raises(ConfigError, match="tabulated"):
        compile_potential(make(), "spline")


def test_errors_are_those_of_the_potential(make_graph):
    model = make()
    fast = compile_potential(model)
    assert isinstance(fast, CompiledPotential)
    assert (fast.cutoff, fast.species, fast.dtype) == (4.0, (1, 6, 8), torch.float64)
    graph = make_graph("molecule")
    cases = [
        (UnknownSpeciesError, graph.replace(atomic_numbers=torch.full_like(graph.atomic_numbers, 29)), {}),
        (ShapeError, make_graph("molecule", torch.float32), {}),
        (GraphError, make_graph("molecule", cutoff=3.0), {}),
        (GraphError, graph, {"stress": True}),
    ]
    for error, given, asked in cases:
        messages = []
        for call in (model, fast):
            with pytest.raises(error) as caught:
                call(given, **asked)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


# ---- the operation itself ------------------------------------------------------------------------------------------


def arguments(make_graph, fast: CompiledPotential, dtype: torch.dtype = torch.float64) -> list:
    graph = make_graph("molecule", dtype)
    program = fast._program
    species = fast.potential.backbone.index(graph.atomic_numbers)
    room = torch.empty(graph.num_edges * program.room, dtype=dtype)
    fixed = [list(program.tensors), list(program.numbers), program.cutoff, program.scale, True, room]
    return [graph.edge_vectors(), graph.edge_index, species, *fixed]


def call(given: list) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ops.equitools.many_body_energy(*given)


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, torch.zeros(5, 3, dtype=torch.float64)),
        (0, torch.zeros(42, 2, dtype=torch.float64)),
        (0, torch.zeros(42, dtype=torch.float64)),
        (0, torch.zeros(42, 3, dtype=torch.float32)),
        (0, torch.zeros(42, 3, dtype=torch.int64)),
        (1, torch.zeros(2, 42, dtype=torch.int32)),
        (1, torch.zeros(3, 42, dtype=torch.int64)),
        (1, torch.full((2, 42), 7)),
        (1, torch.full((2, 42), -1)),
        (2, torch.full((7,), 3)),
        (2, torch.full((7,), -1)),
        (2, torch.zeros(7, dtype=torch.int32)),
        (2, torch.zeros(7, 1, dtype=torch.int64)),
        (2, torch.zeros(3, dtype=torch.int64)),
        (3, []),
        (4, []),
        (5, 0.0),
        (5, -1.0),
        (5, float("nan")),
        (8, torch.zeros(4, dtype=torch.float32)),
        (8, torch.zeros(4, 4, dtype=torch.float64).T[1:]),
    ],
)
def test_malformed_arguments(make_graph, position, value):
    given = arguments(make_graph, compile_potential(make()))
    given[position] = value
    with pytest.raises(RuntimeError):
        call(given)


@pytest.mark.parametrize("radial", ["exact", "tabulated"])
def test_damaged_lists_never_crash(make_graph, radial):
    """Any number or tensor of the program replaced by another one: an error, or some result, and the next call works.

    A list that ends too early, or a number where another one must be, is always an error.
    """
    chooser = random.Random(0)
    fast = compile_potential(make(residual_first=True, channels=3), radial)
    good = arguments(make_graph, fast)
    expected = call(good)
    raised = 0
    for length in range(len(good[3])):
        with pytest.raises(RuntimeError):
            call([*good[:3], good[3][:length], *good[4:]])
    for length in range(len(good[4])):
        with pytest.raises(RuntimeError):
            call([*good[:4], good[4][:length], *good[5:]])
    for at in range(len(good[4])):
        for value in (-1, 0, 1, good[4][at] + 1, good[4][at] - 1, 2**31, 2**61, -(2**62), chooser.randrange(100)):
            numbers = list(good[4])
            numbers[at] = value
            try:
                call([*good[:4], numbers, *good[5:]])
            except (RuntimeError, MemoryError):
                raised += 1
    for at, tensor in enumerate(good[3]):
        odd = [tensor.flatten(), tensor[:0], tensor[..., :-1], tensor[1:], tensor.new_zeros(0)]
        odd += [torch.zeros_like(tensor, dtype=torch.int64), torch.zeros_like(tensor, dtype=torch.float32)]
        odd += [torch.full_like(tensor, -1), torch.full_like(tensor, 2**30)]
        odd += [chooser.choice(good[3])] + ([torch.full_like(tensor, torch.nan)] if tensor.is_floating_point() else [])
        for other in odd:
            try:
                call([*good[:3], [*good[3][:at], other, *good[3][at + 1 :]], *good[4:]])
            except (RuntimeError, MemoryError):
                raised += 1
    assert raised > len(good[4]) + len(good[3])
    assert all(torch.equal(a, b) for a, b in zip(call(good), expected, strict=True))


# ---- instruction sets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_every_instruction_set(capability):
    environment = {**os.environ, "EQUITOOLS_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
    chosen = "equals_potential or batch_of_all or lengths_near or millionth or float32_tables or workspace_is_used"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", chosen]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
