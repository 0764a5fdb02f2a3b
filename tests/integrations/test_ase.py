"""The ASE calculator against direct evaluation, ASE's own numerical derivatives, and what ASE's engines expect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import (
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
    get_calculator_class,
)
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE
from toy import MorsePotential

from equitools import models
from equitools.errors import CheckpointError, EquitoolsError, UnknownSpeciesError
from equitools.graph import Graph
from equitools.integrations.ase import CalculatorModelError, EquitoolsCalculator, UnknownElementError


def toy(**kwargs):
    return EquitoolsCalculator(MorsePotential(), dtype=torch.float64, **kwargs)


def copper(seed=0, size=(2, 2, 2), amplitude=0.1):
    atoms = bulk("Cu", cubic=True) * size
    atoms.rattle(amplitude, seed=seed)
    strain = np.random.default_rng(seed).normal(0, 0.02, (3, 3))
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def thermalise(atoms, kelvin):
    spread = np.sqrt(atoms.get_masses() * units.kB * kelvin)[:, None]
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)) * spread)


def ethanol(seed=0):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=seed)
    return atoms


@pytest.mark.parametrize("atoms", [ethanol(), copper(), copper(1, (1, 1, 1))], ids=["molecule", "bulk", "small cell"])
def test_parity_with_direct_evaluation(atoms):
    model = MorsePotential().double()
    out = model(Graph.from_ase(atoms, model.cutoff, dtype=torch.float64))
    atoms.calc = toy()
    assert atoms.get_potential_energy() == pytest.approx(out["energy"].item(), abs=1e-10)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert atoms.get_potential_energies().sum() == pytest.approx(out["energy"].item(), abs=1e-10)
    np.testing.assert_allclose(atoms.get_forces(), out["forces"].numpy(), atol=1e-10)
    if atoms.pbc.all():
        full = atoms.get_stress(voigt=False)
        np.testing.assert_allclose(full, out["stress"][0].numpy(), atol=1e-12)
        xx, yy, zz, yz, xz, xy = atoms.get_stress()
        np.testing.assert_allclose(full, [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 2)])
def test_stress_is_strain_derivative(size):
    atoms = copper(3, size)
    atoms.calc = toy()
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, 1e-5), atol=2e-9)
    np.testing.assert_allclose(atoms.get_forces()[:2], calculate_numerical_forces(atoms, 1e-5, [0, 1]), atol=1e-8)


@pytest.mark.parametrize("name", ["egnn", "many_body_mp"])
def test_parity_with_a_network(name, tmp_path):
    torch.manual_seed(0)
    small = {"hidden": 8, "layers": 1} if name == "egnn" else {"channels": 2, "num_layers": 1}
    network = models.build(name, cutoff=3.5, species=(29,), **small)
    potential = models.Potential(network, reference_energies={"Cu": -1000.0}).double().eval()
    models.save(potential, tmp_path / "model.safetensors")
    atoms = copper(size=(1, 1, 1))
    out = potential(Graph.from_ase(atoms, 3.5, dtype=torch.float64), stress=True)
    atoms.calc = EquitoolsCalculator(tmp_path / "model.safetensors")
    assert atoms.get_potential_energy() == pytest.approx(out["energy"].item(), abs=1e-9)
    assert atoms.get_potential_energies().sum() == pytest.approx(out["energy"].item(), abs=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), out["forces"].detach().numpy(), atol=1e-10)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), out["stress"][0].detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, 1e-5), atol=1e-7)


def test_compressed_crystal_has_negative_pressure_components():
    atoms = bulk("Cu", a=3.2)
    atoms.calc = toy()
    assert (atoms.get_stress()[:3] < 0).all()


@pytest.mark.parametrize("periodic", [False, True])
def test_skin_changes_nothing(periodic):
    atoms = copper(amplitude=0.02) if periodic else ethanol()
    with_skin, without = toy(skin=0.6), toy(skin=0.0)
    rng = np.random.default_rng(1)
    lists = set()
    for step in range(40):
        atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
        if step == 13:
            atoms.wrap()
        if step == 20 and periodic:
            atoms.set_cell(atoms.cell[:] * 1.03, scale_atoms=True)
        if step == 25:
            atoms.translate([0.01, 0.02, 0.0])
        if step == 30 and periodic:
            atoms.pbc = [True, True, False]
        wanted = ["energy", "forces"] + ["stress"] * bool(atoms.pbc.all())
        one, two = with_skin.evaluate(atoms, wanted), without.evaluate(atoms, wanted)
        lists.add(id(with_skin._neighbours))
        for key in one:
            assert np.array_equal(one[key], two[key]), (key, step)
    assert 1 < len(lists) < 25  # rebuilt at times, but not at each step


def test_skin_during_md_with_unwrapped_atoms():
    atoms = copper()
    thermalise(atoms, 900)
    atoms.calc = toy()
    fresh = toy(skin=0)
    with Langevin(
        atoms, 4 * units.fs, temperature_K=900, friction=0.02, fixcm=False, rng=np.random.default_rng(1)
    ) as dynamics:
        for _ in dynamics.irun(40):
            np.testing.assert_array_equal(atoms.get_forces(), fresh.evaluate(atoms)["forces"])


def test_changed_elements_and_order_are_seen():
    atoms = ethanol()
    calc, fresh = toy(skin=1.0), toy(skin=0)
    calc.evaluate(atoms)
    shuffled = atoms[[3, 1, 2, 0, 4, 5, 6, 7, 8]]
    np.testing.assert_array_equal(calc.evaluate(shuffled)["forces"], fresh.evaluate(shuffled)["forces"])
    np.testing.assert_array_equal(calc.evaluate(atoms[:5])["forces"], fresh.evaluate(atoms[:5])["forces"])


def test_float32_far_from_the_origin_keeps_its_digits():
    atoms = ethanol()
    calc = EquitoolsCalculator(MorsePotential(), dtype="float32")
    near = calc.evaluate(atoms)["forces"]
    atoms.positions += 5000.0
    np.testing.assert_allclose(calc.evaluate(atoms)["forces"], near, atol=2e-6)


def test_atoms_are_not_mutated():
    atoms = copper()
    atoms.info["charge"] = 1
    atoms.info["note"] = "mine"
    before, info, arrays = atoms.copy(), dict(atoms.info), {k: v.copy() for k, v in atoms.arrays.items()}
    calc = toy()
    calc.evaluate(atoms, ["energy", "forces", "stress"])
    calc.evaluate_many([atoms])
    atoms.calc = calc
    atoms.get_stress()
    assert atoms == before
    assert atoms.info == info
    assert arrays.keys() == atoms.arrays.keys()
    assert all(np.array_equal(arrays[k], atoms.arrays[k]) for k in arrays)


def test_results_do_not_alias():
    atoms = ethanol()
    atoms.calc = toy()
    forces = atoms.get_forces()
    forces[:] = 0
    assert np.abs(atoms.get_forces()).max() > 0


def test_module_is_copied_and_left_as_it_was():
    model = MorsePotential().train()
    calc = EquitoolsCalculator(model, dtype=torch.float64)
    assert model.training
    assert model.parameters_.dtype == torch.float32
    assert model.parameters_.requires_grad
    before = calc.evaluate(ethanol())["energy"]
    with torch.no_grad():
        model.parameters_.mul_(2)
    assert calc.evaluate(ethanol())["energy"] == before


def test_cache_computes_once_per_structure():
    atoms = copper()
    atoms.calc = toy()
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energies()
    assert atoms.calc.model.calls == 1
    atoms.positions[0, 0] += 1e-3
    atoms.get_forces()
    assert atoms.calc.model.calls == 2
    atoms.info["note"] = "not read by the model"
    atoms.get_forces()
    assert atoms.calc.model.calls == 2


def test_charge_in_info_is_seen_where_the_model_reads_it():
    atoms = ethanol()
    atoms.calc = EquitoolsCalculator(MorsePotential(inputs=("total_charge",)), dtype=torch.float64)
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = 1
    assert atoms.get_potential_energy() == pytest.approx(1.1 * neutral)
    del atoms.info["charge"]
    assert atoms.get_potential_energy() == neutral
    many = atoms.calc.evaluate_many([atoms, atoms])
    assert [m["energy"] for m in many] == [pytest.approx(neutral)] * 2


def test_stress_without_three_periodic_axes_says_why():
    atoms = ethanol()
    atoms.calc = toy()
    with pytest.raises(PropertyNotImplementedError, match="periodic along all three axes"):
        atoms.get_stress()
    slab = bulk("Cu", cubic=True)
    slab.pbc = [True, True, False]
    slab.calc = toy()
    assert np.isfinite(slab.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError, match="False"):
        slab.get_stress()
    off = bulk("Cu")
    off.calc = toy(compute_stress=False)
    off.get_forces()
    with pytest.raises(PropertyNotImplementedError, match="compute_stress"):
        off.get_stress()


def test_unknown_property():
    with pytest.raises(PropertyNotImplementedError, match="magmom"):
        toy().evaluate(ethanol(), ["magmom"])


def test_unknown_element():
    atoms = molecule("CH3Cl")
    atoms.calc = toy()
    with pytest.raises(UnknownElementError, match=r"Cl.*H, C, O, Cu") as caught:
        atoms.get_forces()
    for kind in (EquitoolsError, UnknownSpeciesError, CalculatorSetupError, InputError):
        assert isinstance(caught.value, kind)
    with pytest.raises(UnknownElementError, match="Structure 1 of 2"):
        toy().evaluate_many([ethanol(), atoms])


@pytest.mark.parametrize("fault", ["nan", "zero cell", "empty"])
def test_bad_atoms(fault):
    atoms = ethanol()
    if fault == "nan":
        calc = toy()
        calc.evaluate(atoms)  # a kept neighbour list must not hide the fault
        atoms.positions[2] = np.nan
    elif fault == "zero cell":
        calc = toy()
        atoms.pbc = True
    else:
        calc, atoms = toy(), Atoms()
    with pytest.raises(InputError) as caught:
        calc.evaluate(atoms)
    assert isinstance(caught.value, EquitoolsError)


def test_bad_models(tmp_path):
    backbone = models.build("egnn", cutoff=4.0, species=(1,), hidden=8, layers=1)
    with pytest.raises(CalculatorModelError, match=r"ScalarHead.*no energy and forces"):
        EquitoolsCalculator(models.HeadModel(backbone, models.ScalarHead("gap")))
    with pytest.raises(CalculatorModelError, match=r"bare EGNN.*Potential"):
        EquitoolsCalculator(backbone)
    with pytest.raises(CalculatorModelError, match="no cutoff and no species"):
        EquitoolsCalculator(torch.nn.Linear(1, 1))
    with pytest.raises(CalculatorModelError, match="safetensors"):
        EquitoolsCalculator(3)
    with pytest.raises(CalculatorModelError, match="float32 or float64"):
        EquitoolsCalculator(MorsePotential(), dtype="float16")
    with pytest.raises(CalculatorModelError, match="cannot be used here"):
        EquitoolsCalculator(MorsePotential(), device="no_such_device")
    with pytest.raises(CalculatorModelError, match="skin"):
        EquitoolsCalculator(MorsePotential(), skin=-1)
    with pytest.raises((CheckpointError, EquitoolsError)):
        EquitoolsCalculator(tmp_path / "missing.safetensors")


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_evaluate_many_equals_evaluate(batch_size):
    frames = [ethanol(0), copper(0), Atoms("Cu", positions=[[1, 2, 3]]), ethanol(1), copper(1, (1, 1, 1))]
    calc = toy()
    many = calc.evaluate_many(frames, batch_size=batch_size)
    for atoms, result in zip(frames, many, strict=True):
        wanted = ["energy", "forces"] + ["stress"] * bool(atoms.pbc.all())
        single = calc.evaluate(atoms, wanted)
        assert result.keys() == single.keys()
        for key in single:
            np.testing.assert_allclose(result[key], single[key], atol=1e-11)
    assert calc.evaluate_many([]) == []
    only = calc.evaluate_many(frames[:2], properties=["energy"])
    assert "forces" not in only[0]


@pytest.mark.parametrize("optimizer", [FIRE, BFGS])
def test_relaxation(optimizer):
    atoms = copper(amplitude=0.05)
    atoms.calc = toy()
    with optimizer(atoms, logfile=None) as run:
        assert run.run(fmax=1e-3, steps=200)


def test_variable_cell_relaxation():
    atoms = copper(2, (1, 1, 1), 0.05)
    atoms.calc = toy()
    with BFGS(FrechetCellFilter(atoms), logfile=None) as run:
        assert run.run(fmax=1e-3, steps=300)
    assert np.abs(atoms.get_stress()).max() < 3e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nve_conserves_energy(dtype):
    atoms = copper(amplitude=0.0)
    thermalise(atoms, 300)
    atoms.calc = EquitoolsCalculator(MorsePotential(), dtype=dtype)
    totals = []
    with VelocityVerlet(atoms, 1.0 * units.fs) as dynamics:
        for _ in dynamics.irun(200):
            totals.append(atoms.get_total_energy() / len(atoms))
    assert np.ptp(totals) < 2e-4


def test_registered_by_name():
    assert get_calculator_class("equitools") is EquitoolsCalculator
    assert EquitoolsCalculator(MorsePotential()).name == "equitools"


def test_ase_plugins_lists_the_calculator():
    ase_plugins = pytest.importorskip("ase._4.plugins")
    from equitools.integrations.ase_plugin import __ase_plugins__

    collection = ase_plugins.PluginCollection(__ase_plugins__)
    assert [plugin.name for plugin in collection.calculators] == ["equitools"]
    assert next(iter(__ase_plugins__)).implementation is EquitoolsCalculator
