"""The benchmark of FAENet's dynamics runs, with tiny networks on a toy molecule, and its page says what it found."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from benchmarks import faenet_acac, faenet_frames
from benchmarks._results import RESULTS
from benchmarks.symmetrized import faenet_page
from benchmarks.symmetrized.faenet_page import TITLES


def _labelled(atoms: Atoms) -> Atoms:
    atoms.calc = EMT()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All stages once."""
    folder = tmp_path_factory.mktemp("faenet")
    data, runs = folder / "data", folder / "runs"
    data.mkdir()
    rng = np.random.default_rng(0)
    structures = []
    for _ in range(32):
        atoms = molecule("CH3OH")
        atoms.positions += 0.03 * rng.normal(size=(len(atoms), 3))
        structures.append(_labelled(atoms))
    write(data / "train_300K.xyz", structures[:24])
    write(data / "test_MD_300K.xyz", structures[24:])
    write(data / "isolated_atoms.xyz", [_labelled(Atoms(symbol)) for symbol in "HCO"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["faenet_acac.py", "--quick", "--data", str(data), "--runs", str(runs)])
        faenet_acac.main()
        written = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
        faenet_acac.main()  # finished stages are taken as they are
    again = {path for path, when in written.items() if path.stat().st_mtime_ns != when}
    assert {path.name for path in again} == {"faenet_acac.json", "faenet_acac.png"}
    return json.loads((runs / "faenet_acac.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_all_runs_start_alike(table: dict[str, Any]) -> None:
    runs = table["result"]["dynamics"]
    assert list(runs) == list(faenet_acac.DYNAMICS)
    assert {run["series"]["temperature_K"][0] for run in runs.values()} == {300.0}
    assert all(run["summary"]["steps_done"] == 40 for run in runs.values())


@pytest.mark.slow
def test_only_deterministic_frames_are_symmetric(table: dict[str, Any]) -> None:
    found = table["result"]["symmetry"]
    for name in ("gradient", "direct_full"):
        assert max(found[name].values()) < 1e-6
    assert min(found["direct"].values()) > 1e-3


def _row(**summary: Any) -> dict[str, Any]:
    figures = {
        "broken_at_ps": None, "stopped": None, "simulated_ps": 20.0, "drift_until_broken": 0.125,
        "energy_max_deviation_meV_per_atom": 0.75, "temperature_last_ps_K": 301.0, "steps": 40000, "timestep": 0.5,
        "temperature": 300.0,
    }  # fmt: skip
    return {"summary": {**figures, **summary}}


def test_page() -> None:
    trained = {
        "structures": {"train": 450}, "parameters": 1234, "epochs": 7, "minutes": 3.0,
        "test": {"forces": {"rmse": 21.0}, "energy_per_atom": {"rmse": 0.5}},
    }  # fmt: skip
    table = {
        "processor": "one", "threads": 1, "versions": {"torch": "2", "equitools": "0"}, "date": "2026-01-01",
        "command": "c",
        "result": {
            "trained": {"gradient": trained, "direct": {**trained, "parameters": 1300}},
            "symmetry": {name: {"energy_meV": 1e-10, "forces_meV_per_A": 2e-9} for name in TITLES},
            "dynamics": {
                "gradient": _row(),
                "direct": _row(broken_at_ps=1.5, stopped="exploded", simulated_ps=1.75, drift_until_broken=345.0),
                "direct_full": _row(),
            },
        },
    }  # fmt: skip
    lines = {line.split("|")[1].strip(): line for line in faenet_page.faenet_acac(table).splitlines() if "|" in line}
    for title in TITLES.values():
        assert title in lines
    assert "| 21 | 0.5 | 2.0e-09 | 0.125 | 0.75 | 301 | intact |" in lines[TITLES["gradient"]]
    assert "| 345 |" in lines[TITLES["direct"]]
    assert "broken after 1.5 ps, stopped at 1.75 ps" in lines[TITLES["direct"]]
    assert "| – | – |" in lines[TITLES["direct_full"]]
    assert "20 ps of constant-energy dynamics" in faenet_page.faenet_acac(table)
    assert "no results" in faenet_page.faenet_acac(None)


def test_the_table_of_frames_is_what_is_counted() -> None:
    stored = json.loads((RESULTS / "faenet_frames.json").read_text(encoding="utf-8"))
    rows = stored["result"]["frames"]
    assert list(rows) == list(faenet_frames.structures())
    for name in ("water", "methane", "Cu crystal, 4 atoms", "NaCl crystal, 8 atoms, displaced"):
        atoms = faenet_frames.structures()[name]
        assert {kind: faenet_frames.count(atoms, **o) for kind, o in faenet_frames.KINDS.items()} == rows[name], name
    text = faenet_page.faenet_frames(stored)
    assert f"| water | {rows['water']['weighted']} |" in text
    assert "no results" in faenet_page.faenet_frames(None)
