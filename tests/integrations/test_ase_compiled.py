"""The calculator on the compiled form of a many-body potential."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.md.verlet import VelocityVerlet
from toy import MorsePotential

from equitools.integrations.ase import CalculatorModelError, EquitoolsCalculator
from equitools.integrations.dynamics import thermal_momenta
from equitools.models import CompiledPotential, Potential, build, save
from equitools.ops import use_backend
from equitools.ops.backend import extension_loaded

pytestmark = pytest.mark.skipif(not extension_loaded(), reason="the kernels are not built")


def potential(name: str = "many_body_mp", zbl: bool = False, **config) -> Potential:
    torch.manual_seed(0)
    if name == "many_body_mp":
        config = {"channels": 8, "l_max": 2, "radial_hidden": (24,), **config}
    net = build(name, cutoff=4.0, species=("H", "C", "O", "Cu"), **config)
    return Potential(net, scale=0.5, shift=-0.2, zbl=zbl).double()


def structures() -> list[Atoms]:
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.1, seed=0)
    slab = molecule("CH3CH2OH", cell=[6, 5, 4], pbc=[True, True, False])
    return [molecule("CH3CH2OH"), copper, slab, Atoms("O"), copper * (2, 1, 1)]


def largest_difference(a: dict, b: dict) -> float:
    assert set(a) == set(b)
    return max(float(np.abs(np.asarray(a[name]) - np.asarray(b[name])).max()) for name in a)


@pytest.mark.parametrize("zbl", [False, True])
def test_compiled_changes_nothing(zbl):
    model = potential(zbl=zbl)
    plain, fast = EquitoolsCalculator(model, compiled=False), EquitoolsCalculator(model)
    assert isinstance(fast.evaluator, CompiledPotential)
    assert plain.evaluator is plain.model
    for atoms in structures():
        asked = ["energy", "energies", "forces"] + ["stress"] * bool(atoms.pbc.all())
        assert largest_difference(fast.evaluate(atoms, asked), plain.evaluate(atoms, asked)) < 1e-10
        assert largest_difference(fast.evaluate(atoms, ["energy"]), plain.evaluate(atoms, ["energy"])) < 1e-10
    for a, b in zip(fast.evaluate_many(structures()), plain.evaluate_many(structures()), strict=True):
        assert largest_difference(a, b) < 1e-10


def test_float32_and_files(tmp_path):
    path = tmp_path / "model.safetensors"
    save(potential(), path)
    for atoms in structures():
        a = EquitoolsCalculator(path, dtype="float32").evaluate(atoms)
        b = EquitoolsCalculator(path, dtype="float32", compiled=False).evaluate(atoms)
        c = EquitoolsCalculator(path, compiled=True).evaluate(atoms)
        np.testing.assert_allclose(a["forces"], b["forces"], atol=2e-4)
        np.testing.assert_allclose(a["forces"], c["forces"], atol=2e-4)


def test_default_is_the_model_where_there_is_no_compiled_form():
    other = potential("egnn")
    for model in (other, MorsePotential()):
        calculator = EquitoolsCalculator(model, dtype="float64")
        assert calculator.evaluator is calculator.model
        assert np.isfinite(calculator.evaluate(molecule("CH3CH2OH"))["energy"])
    with use_backend("reference"):
        calculator = EquitoolsCalculator(potential())
    assert calculator.evaluator is calculator.model


def test_errors_of_the_options():
    model = potential()
    with pytest.raises(CalculatorModelError, match="'tabulated'"):
        EquitoolsCalculator(model, radial="tables")
    with pytest.raises(CalculatorModelError, match="compiled=False"):
        EquitoolsCalculator(model, compiled=False, radial="tabulated")
    other = potential("egnn")
    for options in ({"compiled": True}, {"radial": "tabulated"}):
        with pytest.raises(CalculatorModelError, match="EGNN"):
            EquitoolsCalculator(other, **options)
    with pytest.raises(CalculatorModelError, match="MorsePotential"):
        EquitoolsCalculator(MorsePotential(), compiled=True)


def test_tables():
    model = potential()
    exact, tabulated = EquitoolsCalculator(model), EquitoolsCalculator(model, radial="tabulated")
    assert [max(t.error, t.slope_error) < 1e-5 for t in tabulated.evaluator.tables] == [True, True]
    for atoms in structures():
        a, b = exact.evaluate(atoms), tabulated.evaluate(atoms)
        assert np.linalg.norm(a["forces"] - b["forces"]) <= 1e-6 * np.linalg.norm(a["forces"])


@pytest.mark.parametrize("options", [{}, {"radial": "tabulated"}])
def test_dynamics_conserve_energy_equally(options):
    """The same trajectory, and the same small deviation of the total energy, as without the compiled form."""
    model, found = potential(zbl=True), []
    for chosen in ({"compiled": False}, options):
        atoms = molecule("CH3CH2OH")
        thermal_momenta(atoms, 200, np.random.default_rng(0))
        atoms.calc = EquitoolsCalculator(model, **chosen)
        dynamics, energies = VelocityVerlet(atoms, 0.1 * units.fs), []
        dynamics.attach(lambda a=atoms, e=energies: e.append(a.get_total_energy()))
        dynamics.run(25)
        found.append((np.array(energies), atoms.positions.copy()))
    (plain, end), (fast, fast_end) = found
    np.testing.assert_allclose(fast, plain, atol=1e-10 if not options else 1e-6)
    np.testing.assert_allclose(fast_end, end, atol=1e-10 if not options else 1e-6)
    assert np.ptp(fast) <= np.ptp(plain) * 1.001 + 1e-6


@pytest.mark.parametrize("options", [{}, {"radial": "tabulated"}])
def test_copies_and_pickles(options):
    calculator = EquitoolsCalculator(potential(), **options)
    atoms = structures()[1]
    expected = calculator.evaluate(atoms, ["forces", "stress"])
    for other in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):  # noqa: S301 - its own
        assert largest_difference(other.evaluate(atoms, ["forces", "stress"]), expected) == 0.0


def test_the_model_is_not_followed():
    model = potential()
    calculator = EquitoolsCalculator(model)
    before = calculator.evaluate(structures()[0])["energy"]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert calculator.evaluate(structures()[0])["energy"] == before
