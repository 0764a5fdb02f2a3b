"""Dynamics and relaxation drivers, with a toy potential and with ASE's own calculators."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read
from toy import MorsePotential

from equitools.errors import ConfigError, EquitoolsError
from equitools.integrations.ase import EquitoolsCalculator
from equitools.integrations.dynamics import (
    BondGraph,
    DynamicsSettings,
    energy_drift,
    internal_freedom,
    run_dynamics,
    thermal_momenta,
)
from equitools.integrations.relaxation import OPTIMIZERS, relax


def copper():
    return bulk("Cu", cubic=True) * (2, 2, 2)


def test_energy_drift_is_the_slope_per_atom_and_picosecond():
    time = np.linspace(0, 2000, 201)
    slope, deviation = energy_drift(time, -5.0 + 3e-6 * time, num_atoms=3)
    assert slope == pytest.approx(1.0)
    assert deviation == pytest.approx(2.0)
    assert energy_drift(np.array([0.0]), np.array([1.0]), 2) == (0.0, 0.0)


@pytest.mark.parametrize("atoms", [molecule("CH3CH2OH"), molecule("CO2"), molecule("N2"), Atoms("H"), copper()])
def test_thermal_momenta(atoms):
    thermal_momenta(atoms, 300, np.random.default_rng(0))
    if len(atoms) > 1:
        assert 2 * atoms.get_kinetic_energy() / units.kB / internal_freedom(atoms) == pytest.approx(300)
        np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0, atol=1e-10)
    if len(atoms) > 1 and not atoms.pbc.any():
        np.testing.assert_allclose(atoms.get_angular_momentum(), 0, atol=1e-9)


def test_internal_freedom():
    counts = {"CH3CH2OH": 21, "CO2": 4, "N2": 1}
    for name, count in counts.items():
        atoms = molecule(name)
        atoms.rotate(37, (1, 2, 3))
        assert internal_freedom(atoms) == count, name
    assert internal_freedom(copper()) == 93
    assert internal_freedom(Atoms("H")) == 1


def test_temperature_of_nve_is_that_of_the_internal_motion():
    calc = EquitoolsCalculator(MorsePotential(length=1.4, width=2.0), dtype="float64")
    result = run_dynamics(molecule("CH3CH2OH"), calc, DynamicsSettings(steps=1, timestep=0.01, interval=1))
    assert result.table["temperature_K"][0] == pytest.approx(300)


def test_bond_graph_tells_chemistry_from_vibration():
    atoms = molecule("CH3CH2OH")
    graph = BondGraph(atoms)
    assert graph.bonded.sum() == 8
    atoms.rattle(0.08, seed=0)
    assert graph.changes(atoms) == {}
    carbon, hydrogen = 0, 5
    atoms.positions[hydrogen] += 1.2 * (atoms.positions[hydrogen] - atoms.positions[carbon])
    assert any("broke" in change for change in graph.changes(atoms))
    atoms = molecule("CH3CH2OH")
    atoms.positions[5] = atoms.positions[6] + [0.5, 0, 0]
    assert any("formed" in change for change in graph.changes(atoms))


def test_a_proton_may_move_within_its_molecule():
    # Malonaldehyde's skeleton O=C-C=C-O with the proton on one oxygen, then on the other, then gone.
    points = [[-1.25, 0, 0], [-1.25, 1.25, 0], [0, 1.95, 0], [1.25, 1.25, 0], [1.25, 0, 0], [0.3, -0.2, 0]]
    atoms = Atoms("OCCCOH", points)
    graph = BondGraph(atoms)
    assert graph.keeps_molecules(atoms)
    moved = atoms.copy()
    moved.positions[5, 0] = -0.35
    assert {change.split()[1] for change in graph.changes(moved)} == {"broke", "formed"}
    assert graph.keeps_molecules(moved)
    moved.positions[5] = [0, -4, 0]
    assert not graph.keeps_molecules(moved)
    stretched = atoms.copy()
    stretched.positions[0, 0] -= 2.0
    assert not graph.keeps_molecules(stretched)


def test_nve_writes_whole_files_and_conserves_energy(tmp_path):
    calls = []
    settings = DynamicsSettings(steps=200, interval=10, timestep=1.0, seed=3)
    start = copper()
    before = start.copy()
    result = run_dynamics(start, EMT(), settings, tmp_path, lambda *values: calls.append(values))
    assert start == before
    assert start.calc is None
    assert abs(result.drift) < 5
    assert result.max_deviation < 1
    assert result.intact is None
    assert len(calls) == 21
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thermo.csv", "trajectory.extxyz"]
    frames = read(tmp_path / "trajectory.extxyz", ":")
    assert len(frames) == 21
    assert frames[-1].get_forces().shape == (32, 3)
    np.testing.assert_allclose(frames[-1].get_momenta(), result.atoms.get_momenta(), atol=1e-6)
    with (tmp_path / "thermo.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["step"]) for row in rows] == list(range(0, 201, 10))
    for row in rows:
        assert float(row["total_eV"]) == pytest.approx(float(row["potential_eV"]) + float(row["kinetic_eV"]), abs=1e-8)
    assert result.summary()["simulated_ps"] == pytest.approx(0.2)


def test_same_seed_same_trajectory():
    settings = DynamicsSettings(ensemble="nvt", steps=30, equilibration=10, seed=5)
    calc = EquitoolsCalculator(MorsePotential(), dtype="float64")
    one, two = (run_dynamics(copper(), calc, settings).atoms.positions for _ in range(2))
    np.testing.assert_array_equal(one, two)
    other = DynamicsSettings(ensemble="nvt", steps=30, equilibration=10, seed=6)
    assert not np.allclose(run_dynamics(copper(), calc, other).atoms.positions, one)


def test_nvt_reaches_its_temperature():
    settings = DynamicsSettings(
        ensemble="nvt", temperature=500, timestep=5.0, steps=300, equilibration=200, friction=20
    )
    result = run_dynamics(copper(), EMT(), settings)
    assert result.table["temperature_K"].mean() == pytest.approx(500, rel=0.12)


def test_npt_runs_and_changes_the_volume():
    calc = EquitoolsCalculator(MorsePotential(), dtype="float64")
    atoms = bulk("Cu", a=3.25, cubic=True) * (2, 2, 2)
    result = run_dynamics(atoms, calc, DynamicsSettings(ensemble="npt", steps=40, timestep=2.0))
    assert np.ptp(result.table["volume_A3"]) > 0
    with pytest.raises(ConfigError, match="periodic along all three"):
        run_dynamics(molecule("CO2"), EMT(), DynamicsSettings(ensemble="npt"))


def test_molecule_after_equilibration_has_no_net_motion():
    calc = EquitoolsCalculator(MorsePotential(length=1.4, width=2.0), dtype="float64")
    settings = DynamicsSettings(temperature=100, steps=5, equilibration=50, timestep=0.2)
    result = run_dynamics(molecule("CH3CH2OH"), calc, settings)
    assert result.intact is not None
    np.testing.assert_allclose(result.atoms.get_momenta().sum(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(result.atoms.get_angular_momentum(), 0, atol=1e-6)


def test_nve_after_equilibration_is_at_its_temperature():
    calc = EquitoolsCalculator(MorsePotential(), dtype="float64")
    settings = DynamicsSettings(temperature=200, timestep=2.0, steps=300, equilibration=200, friction=20)
    result = run_dynamics(bulk("Cu", a=3.25, cubic=True) * (2, 2, 2), calc, settings)
    assert result.table["temperature_K"].mean() == pytest.approx(200, rel=0.1)


def test_interrupted_run_keeps_what_it_has(tmp_path):
    def interrupt(step, row, drift):
        if step == 30:
            raise KeyboardInterrupt

    result = run_dynamics(copper(), EMT(), DynamicsSettings(steps=100), tmp_path, interrupt)
    assert result.stopped == "interrupted after 30 steps"
    assert len(read(tmp_path / "trajectory.extxyz", ":")) == 4
    assert len(list(tmp_path.iterdir())) == 2


def test_explosion_is_named(tmp_path):
    settings = DynamicsSettings(steps=200, timestep=400.0, interval=1)
    result = run_dynamics(copper(), EMT(), settings, tmp_path)
    assert "exploded" in result.stopped
    assert result.steps_done < 200


def test_a_structure_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(EquitoolsError):
        run_dynamics(molecule("CH3Cl"), EquitoolsCalculator(MorsePotential()), DynamicsSettings(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"ensemble": "nev"}, {"steps": 0}, {"timestep": 0.0}, {"temperature": -1.0}, {"interval": 0}, {"friction": -1.0}],
)
def test_bad_settings(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DynamicsSettings(**wrong)


def test_keep_velocities():
    atoms = copper()
    with pytest.raises(ConfigError, match="no velocities"):
        run_dynamics(atoms, EMT(), DynamicsSettings(keep_velocities=True))
    thermal_momenta(atoms, 111, np.random.default_rng(0))
    kelvin = atoms.get_temperature()
    result = run_dynamics(atoms, EMT(), DynamicsSettings(keep_velocities=True, steps=1))
    assert result.table["temperature_K"][0] == pytest.approx(kelvin)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_relax_atoms(optimizer, tmp_path):
    atoms = copper()
    atoms.rattle(0.05, seed=1)
    steps = []
    result = relax(
        atoms, EMT(), optimizer=optimizer, output=tmp_path / "out.extxyz", on_step=lambda *s: steps.append(s)
    )
    assert result.converged
    assert result.largest_force[1] < 0.01 < result.largest_force[0]
    assert result.energy[1] < result.energy[0]
    assert steps[-1][2] < 0.01
    written = read(tmp_path / "out.extxyz")
    np.testing.assert_allclose(written.positions, result.atoms.positions, atol=1e-7)
    assert written.get_potential_energy() == pytest.approx(result.energy[1])


@pytest.mark.parametrize("pressure", [0.0, 5.0])
def test_relax_cell(pressure):
    atoms = bulk("Cu", a=3.8, cubic=True)
    atoms.rattle(0.05, seed=0)
    result = relax(atoms, EMT(), fmax=1e-4, cell=True, pressure=pressure)
    assert result.converged
    assert result.pressure[1] == pytest.approx(pressure, abs=1e-3)
    assert result.volume[1] < result.volume[0]
    assert np.ptp(result.atoms.cell.lengths()) < 1e-3
    stress = result.atoms.get_stress()[:3].mean()
    assert -stress / units.GPa == pytest.approx(pressure, abs=1e-3)


def test_relax_says_when_it_did_not_converge():
    atoms = copper()
    atoms.rattle(0.1, seed=1)
    assert not relax(atoms, EMT(), fmax=1e-6, steps=2).converged


def test_relax_bad_input(tmp_path):
    with pytest.raises(ConfigError, match="bfgs"):
        relax(copper(), EMT(), optimizer="bfsg")
    with pytest.raises(ConfigError, match="fmax"):
        relax(copper(), EMT(), fmax=0)
    with pytest.raises(ConfigError, match="three axes"):
        relax(molecule("CO2"), EMT(), cell=True)
    with pytest.raises(ConfigError, match="suffix"):
        relax(copper(), EMT(), output=tmp_path / "out.unheard")
    assert list(tmp_path.iterdir()) == []
