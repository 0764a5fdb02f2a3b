"""Molecular dynamics with ASE: run it, record energies, and judge it.

`run_dynamics` takes any ASE calculator. It writes a trajectory and a table of energies that appear whole or not at
all, and its result says how far the total energy drifted and whether a molecule kept its bonds.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from equitools._atomic import atomic_path
from equitools.errors import ConfigError, EquitoolsError, MissingDependencyError, nearest

__all__ = [
    "BondGraph",
    "DynamicsResult",
    "DynamicsSettings",
    "energy_drift",
    "internal_freedom",
    "run_dynamics",
    "thermal_momenta",
]

ENSEMBLES = ("nve", "nvt", "npt")
COLUMNS = ("step", "time_fs", "temperature_K", "potential_eV", "kinetic_eV", "total_eV", "volume_A3")
#: A run is stopped when the temperature is above this many times the target (and above 5000 K): it has exploded.
RUNAWAY = 20.0


@dataclasses.dataclass(frozen=True)
class DynamicsSettings:
    """What to run.

    Attributes:
        ensemble: ``nve`` (velocity Verlet), ``nvt`` (Langevin) or ``npt`` (isotropic Martyna–Tobias–Klein).
        temperature: K; of the thermostat, and of the first velocities.
        timestep: fs.
        steps: Number of steps.
        interval: Steps between two records of energies and two frames of the trajectory.
        seed: Of velocities and thermostat.
        friction: Of the Langevin thermostat, 1/ps.
        pressure: GPa, for npt.
        equilibration: Langevin steps before the recorded run begins. An nve run then begins at the mean total energy
            that they showed, without net translation and (of molecules) rotation.
        keep_velocities: Start from the velocities in the structure instead of drawing new ones.
    """

    ensemble: str = "nve"
    temperature: float = 300.0
    timestep: float = 0.5
    steps: int = 2000
    interval: int = 10
    seed: int = 0
    friction: float = 10.0
    pressure: float = 0.0
    equilibration: int = 0
    keep_velocities: bool = False

    def __post_init__(self) -> None:
        if self.ensemble not in ENSEMBLES:
            raise ConfigError(f"There is no ensemble {self.ensemble!r}. {nearest(self.ensemble, ENSEMBLES)}")
        for name, smallest in (("steps", 1), ("interval", 1), ("equilibration", 0)):
            if getattr(self, name) < smallest:
                raise ConfigError(f"{name} must be at least {smallest}, but {getattr(self, name)} was given.")
        for name in ("timestep", "friction"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} must be positive, but {getattr(self, name)} was given.")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature must be at least 0 K, but {self.temperature} was given.")


@dataclasses.dataclass
class DynamicsResult:
    """What came out.

    Attributes:
        settings: What was run.
        atoms: The last structure, with its velocities.
        table: The recorded values by column (`COLUMNS`), one array each.
        drift: Slope of a straight line through the total energy, meV/atom/ps (meaningful for nve).
        max_deviation: Largest distance of the total energy from its first value, meV/atom.
        intact: Whether each molecule stayed in one piece with the bonds between its heavy atoms unchanged, at every
            record; a proton that moves from one atom of it to another does not break it. None for structures with a
            periodic axis.
        changed_bonds: Bonds that broke or formed, such as ``"C0-H3 broke (1.92 Å) at 512.0 fs"``.
        steps_done: Fewer than asked for if the run was stopped.
        stopped: Why it was stopped, or None.
        seconds: Wall time.
    """

    settings: DynamicsSettings
    atoms: Atoms
    table: dict[str, np.ndarray]
    drift: float
    max_deviation: float
    intact: bool | None
    changed_bonds: list[str]
    steps_done: int
    stopped: str | None
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON-able values, units in the names."""
        temperature = self.table["temperature_K"]
        return {
            **dataclasses.asdict(self.settings),
            "atoms": len(self.atoms),
            "steps_done": self.steps_done,
            "simulated_ps": self.steps_done * self.settings.timestep / 1000,
            "energy_drift_meV_per_atom_per_ps": self.drift,
            "energy_max_deviation_meV_per_atom": self.max_deviation,
            "temperature_mean_K": float(temperature.mean()),
            "temperature_std_K": float(temperature.std()),
            "molecule_intact": self.intact,
            "changed_bonds": self.changed_bonds,
            "stopped": self.stopped,
            "wall_seconds": self.seconds,
        }


class BondGraph:
    """The bonds of a molecule by covalent radii, and which of them a later geometry has changed.

    Two atoms are bonded when nearer than 1.25 times the sum of their covalent radii. To be called broken a bond must
    then be stretched beyond 1.6 times that sum, and a new one be nearer than 1.1 times: the gap between keeps thermal
    vibrations from being taken for chemistry.
    """

    BONDED, BROKEN, FORMED = 1.25, 1.6, 1.1

    def __init__(self, atoms: Atoms) -> None:
        self.symbols = atoms.get_chemical_symbols()
        radii = covalent_radii[atoms.numbers]
        self.first, self.second = np.triu_indices(len(atoms), 1)
        self.reference = radii[self.first] + radii[self.second]
        self.bonded = self._distances(atoms.positions) < self.BONDED * self.reference

    def _distances(self, positions: np.ndarray) -> np.ndarray:
        return np.linalg.norm(positions[self.first] - positions[self.second], axis=1)

    def keeps_molecules(self, atoms: Atoms) -> bool:
        """Return whether the molecules are the same: the same pieces, and the same bonds between heavy atoms.

        A hydrogen may move to another atom of its molecule, as the enol proton of acetylacetone does. Pieces are held
        together by pairs nearer than the distance beyond which a bond counts as broken.
        """
        distance = self._distances(atoms.positions)
        broken = self.bonded & (distance > self.BROKEN * self.reference)
        formed = ~self.bonded & (distance < self.FORMED * self.reference)
        heavy = np.array([symbol != "H" for symbol in self.symbols])
        if bool(((broken | formed) & heavy[self.first] & heavy[self.second]).any()):
            return False
        return bool(np.array_equal(self._pieces(self.bonded), self._pieces(distance < self.BROKEN * self.reference)))

    def _pieces(self, joined: np.ndarray) -> np.ndarray:
        """The smallest index of each atom's connected piece."""
        label = np.arange(len(self.symbols))
        pairs = list(zip(self.first[joined], self.second[joined], strict=True))
        changed = True
        while changed:
            changed = False
            for i, j in pairs:
                low = min(label[i], label[j])
                changed |= bool(label[i] != low or label[j] != low)
                label[i] = label[j] = low
        return label

    def changes(self, atoms: Atoms) -> dict[str, float]:
        """Return the changed bonds, such as ``"C0-H3 broke"``, with their lengths in Å."""
        distance = self._distances(atoms.positions)
        broken = self.bonded & (distance > self.BROKEN * self.reference)
        formed = ~self.bonded & (distance < self.FORMED * self.reference)
        return {
            f"{self.symbols[i]}{i}-{self.symbols[j]}{j} {'broke' if was else 'formed'}": float(length)
            for i, j, was, changed, length in zip(
                self.first, self.second, self.bonded, broken | formed, distance, strict=True
            )
            if changed
        }


def energy_drift(time_fs: np.ndarray, total: np.ndarray, num_atoms: int) -> tuple[float, float]:
    """Return how well a total energy is conserved.

    Args:
        time_fs: ``[T]`` fs.
        total: ``[T]`` eV.
        num_atoms: To divide by.

    Returns:
        The slope of the least-squares line in meV/atom/ps, and the largest deviation from the first value in
        meV/atom.
    """
    per_atom = (np.asarray(total) - total[0]) * 1000 / num_atoms
    picoseconds = (np.asarray(time_fs) - time_fs[0]) / 1000
    centred = picoseconds - picoseconds.mean()
    spread = float(centred @ centred)
    slope = float(centred @ per_atom) / spread if spread > 0 else 0.0
    return slope, float(np.abs(per_atom).max())


def thermal_momenta(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Give the atoms Maxwell–Boltzmann momenta with no net translation, and no rotation where nothing is periodic.

    The momenta are scaled so that the temperature of the internal motion (`internal_freedom`) is exact.

    Args:
        atoms: Changed in place.
        temperature: K.
        rng: Source of randomness.
    """
    masses = atoms.get_masses()[:, None]
    atoms.set_velocities(rng.normal(size=(len(atoms), 3)) * np.sqrt(units.kB * temperature / masses))
    _remove_rigid_motion(atoms)
    actual = 2 * atoms.get_kinetic_energy() / (units.kB * internal_freedom(atoms))
    if actual > 0:
        atoms.set_velocities(atoms.get_velocities() * math.sqrt(temperature / actual))


def internal_freedom(atoms: Atoms) -> int:
    """Return the degrees of freedom without rigid motion: 3N − 3 if an axis is periodic, else 3N − 6 (linear: 3N − 5).

    At least 1, so that it can be divided by.
    """
    rigid = 3
    if not atoms.pbc.any():
        arms = atoms.positions - atoms.get_center_of_mass()
        rigid += int(np.linalg.matrix_rank(_inertia(atoms, arms), tol=1e-3)) if len(atoms) > 1 else 0
    return max(1, 3 * len(atoms) - rigid)


def _inertia(atoms: Atoms, arms: np.ndarray) -> np.ndarray:
    weighted = atoms.get_masses()[:, None] * arms
    return np.eye(3) * (weighted * arms).sum() - weighted.T @ arms


def _remove_rigid_motion(atoms: Atoms) -> None:
    """Take out the translation, and the rotation where nothing is periodic."""
    masses, velocities = atoms.get_masses()[:, None], atoms.get_velocities()
    if len(atoms) > 1:
        velocities -= (masses * velocities).sum(axis=0) / masses.sum()
        if not atoms.pbc.any():
            arms = atoms.positions - atoms.get_center_of_mass()
            momentum = np.cross(arms, masses * velocities).sum(axis=0)
            # a linear molecule has one moment of inertia that is zero
            velocities -= np.cross(np.linalg.pinv(_inertia(atoms, arms), rcond=1e-6) @ momentum, arms)
    atoms.set_velocities(velocities)


def run_dynamics(
    atoms: Atoms,
    calculator: Any,
    settings: DynamicsSettings,
    output: str | Path | None = None,
    on_record: Callable[[int, dict[str, float], float], None] | None = None,
) -> DynamicsResult:
    """Run molecular dynamics.

    Interrupting (Ctrl-C) or an explosion ends the run early; what was recorded until then is kept and written.

    Args:
        atoms: Start; not changed.
        calculator: Any ASE calculator.
        settings: What to run.
        output: Folder for ``trajectory.extxyz`` (positions, momenta, energy, forces) and ``thermo.csv``; None writes
            nothing.
        on_record: Called with the step (negative while equilibrating), the recorded values, and the drift so far.

    Returns:
        The result.

    Raises:
        EquitoolsError: if the first structure cannot be evaluated.
    """
    atoms = atoms.copy()
    atoms.calc = calculator
    rng = np.random.default_rng(settings.seed)
    _check_start(atoms, settings)
    if not settings.keep_velocities:
        thermal_momenta(atoms, settings.temperature, rng)
    begin = time.perf_counter()
    recorder = _Recorder(atoms, settings, on_record)
    stopped: str | None = None
    with _files(output) as files:
        try:
            if settings.equilibration:
                _equilibrate(atoms, settings, rng, recorder)
            dynamics = _dynamics(atoms, settings, rng)
            for _ in dynamics.irun(settings.steps):
                recorder.step(dynamics.get_number_of_steps(), files)
        except KeyboardInterrupt:
            stopped = f"interrupted after {recorder.steps_done} steps"
        except EquitoolsError as error:
            stopped = f"stopped after {recorder.steps_done} steps: {error}"
        if not recorder.rows:
            raise EquitoolsError(f"The dynamics {stopped or 'recorded nothing'}, so there is nothing to write.")
    table = {name: np.array([row[name] for row in recorder.rows]) for name in COLUMNS}
    drift, deviation = energy_drift(table["time_fs"], table["total_eV"], len(atoms))
    return DynamicsResult(
        settings=settings,
        atoms=atoms,
        table=table,
        drift=drift,
        max_deviation=deviation,
        intact=recorder.intact,
        changed_bonds=list(recorder.changed.values()),
        steps_done=recorder.steps_done,
        stopped=stopped,
        seconds=time.perf_counter() - begin,
    )


class _Recorder:
    """Rows of the table, frames of the trajectory, and a watch on bonds and temperature."""

    def __init__(self, atoms: Atoms, settings: DynamicsSettings, on_record: Callable[..., None] | None) -> None:
        self.atoms = atoms
        self.settings = settings
        self.on_record = on_record
        self.bonds = None if atoms.pbc.any() else BondGraph(atoms)
        self.intact = None if self.bonds is None else True
        self.changed: dict[str, str] = {}
        # The thermostats act on all 3N; without one, a molecule that does not travel or turn has fewer.
        free = settings.ensemble == "nve" and not settings.keep_velocities
        self.freedom = internal_freedom(atoms) if free else 3 * len(atoms)
        self.rows: list[dict[str, float]] = []
        self.steps_done = 0

    def values(self, step: int) -> dict[str, float]:
        potential, kinetic = float(self.atoms.get_potential_energy()), float(self.atoms.get_kinetic_energy())
        return {
            "step": step,
            "time_fs": step * self.settings.timestep,
            "temperature_K": 2 * kinetic / (units.kB * self.freedom),
            "potential_eV": potential,
            "kinetic_eV": kinetic,
            "total_eV": potential + kinetic,
            "volume_A3": float(self.atoms.get_volume()) if self.atoms.pbc.all() else math.nan,
        }

    def check(self, row: dict[str, float]) -> None:
        temperature = row["temperature_K"]
        if not math.isfinite(row["total_eV"]) or temperature > max(RUNAWAY * self.settings.temperature, 5000.0):
            raise EquitoolsError(
                f"the temperature reached {temperature:.0f} K, so the run has exploded. Use a smaller timestep (now "
                f"{self.settings.timestep} fs), relax the structure first, or train on data that covers it."
            )

    def step(self, step: int, files: tuple[IO[str], Any] | None) -> None:
        self.steps_done = step
        if step % self.settings.interval and step != self.settings.steps:
            return
        row = self.values(step)
        self.check(row)
        self.rows.append(row)
        if self.bonds is not None:
            self.intact = bool(self.intact) and self.bonds.keeps_molecules(self.atoms)
            for bond, length in self.bonds.changes(self.atoms).items():
                self.changed.setdefault(bond, f"{bond} ({length:.2f} Å) at {row['time_fs']:.1f} fs")
        if files is not None:
            _write_frame(files[0], self.atoms, row)
            files[1].writerow([_cell(row[name]) for name in COLUMNS])
        if self.on_record is not None:
            first = self.rows[0]
            drift = 0.0
            if row["time_fs"] > first["time_fs"]:
                change = (row["total_eV"] - first["total_eV"]) / len(self.atoms)
                drift = change * 1e6 / (row["time_fs"] - first["time_fs"])
            self.on_record(step, row, drift)


def _check_start(atoms: Atoms, settings: DynamicsSettings) -> None:
    if settings.ensemble == "npt" and not atoms.pbc.all():
        raise ConfigError(
            f"npt needs a structure that is periodic along all three axes, but pbc = {atoms.pbc.tolist()}. "
            "Use nve or nvt for molecules."
        )
    if settings.keep_velocities and not atoms.has("momenta"):
        raise ConfigError("The structure has no velocities to keep. Leave keep_velocities out to draw new ones.")
    forces = atoms.get_forces()  # a structure that cannot be evaluated must fail before anything is written
    if settings.ensemble == "npt":
        atoms.get_stress()
    if not np.isfinite(forces).all():
        raise ConfigError("The forces on the first structure are not finite. Relax it first, or look at its geometry.")


def _langevin(atoms: Atoms, settings: DynamicsSettings, rng: np.random.Generator) -> Langevin:
    return Langevin(
        atoms,
        settings.timestep * units.fs,
        temperature_K=settings.temperature,
        friction=settings.friction / (1000 * units.fs),
        fixcm=False,  # with it, Langevin dynamics of few atoms samples the wrong ensemble
        rng=rng,
    )


def _equilibrate(atoms: Atoms, settings: DynamicsSettings, rng: np.random.Generator, recorder: _Recorder) -> None:
    dynamics = _langevin(atoms, settings, rng)
    potentials = []
    for _ in dynamics.irun(settings.equilibration):
        done = dynamics.get_number_of_steps()
        potentials.append(float(atoms.get_potential_energy()))
        if done % settings.interval == 0:
            row = recorder.values(done - settings.equilibration)
            recorder.check(row)
            if recorder.on_record is not None:
                recorder.on_record(done - settings.equilibration, row, 0.0)
    if settings.ensemble == "nve":
        _remove_rigid_motion(atoms)  # or a molecule would drift away, turning, for the rest of the run
        _set_mean_energy(atoms, settings.temperature, float(np.mean(potentials[len(potentials) // 2 :])))


def _set_mean_energy(atoms: Atoms, temperature: float, potential: float) -> None:
    """Scale the velocities so that the total energy is the thermostat's mean.

    One instant of a thermostat is as far from its mean as few atoms fluctuate (20 % for ten), and at constant energy
    a run would keep that. An instant so high in potential energy that little would be left to move is kept as it is.
    """
    usual = 0.5 * internal_freedom(atoms) * units.kB * temperature
    kinetic, now = potential + usual - float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
    if now > 0 and kinetic > 0.2 * usual:
        atoms.set_velocities(atoms.get_velocities() * math.sqrt(kinetic / now))


def _dynamics(atoms: Atoms, settings: DynamicsSettings, rng: np.random.Generator) -> MolecularDynamics:
    step = settings.timestep * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, step)
    if settings.ensemble == "nvt":
        return _langevin(atoms, settings, rng)
    try:
        from ase.md.nose_hoover_chain import IsotropicMTKNPT
    except ImportError as error:
        raise MissingDependencyError("npt needs ASE 3.25 or newer: pip install --upgrade ase") from error
    if atoms.constraints:
        raise ConfigError("npt cannot hold constraints; remove them from the structure, or use nvt.")
    return IsotropicMTKNPT(
        atoms,
        step,
        temperature_K=settings.temperature,
        pressure_au=settings.pressure * units.GPa,
        tdamp=100 * step,
        pdamp=1000 * step,
    )


@contextlib.contextmanager
def _files(output: str | Path | None) -> Iterator[tuple[IO[str], Any] | None]:
    if output is None:
        yield None
        return
    folder = Path(output)
    with (
        atomic_path(folder / "trajectory.extxyz") as frames,
        atomic_path(folder / "thermo.csv") as table,
        frames.open("w", encoding="utf-8") as frame_file,
        table.open("w", encoding="utf-8", newline="") as table_file,
    ):
        writer = csv.writer(table_file)
        writer.writerow(COLUMNS)
        yield frame_file, writer


def _write_frame(handle: IO[str], atoms: Atoms, row: dict[str, float]) -> None:
    frame = atoms.copy()
    frame.info.update(time_fs=row["time_fs"], step=int(row["step"]))
    frame.calc = SinglePointCalculator(
        frame, energy=row["potential_eV"], forces=atoms.get_forces(apply_constraint=False)
    )
    write(handle, frame, format="extxyz")


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(round(value, 9))
