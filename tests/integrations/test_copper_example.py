"""The periodic example: its data, its configuration, and the comparison of lattice constants."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import read
from toy import MorsePotential

from equitools.training import load_config

ROOT = Path(__file__).resolve().parents[2]


def make(folder, *arguments):
    command = [sys.executable, str(ROOT / "examples" / "make_copper.py"), "--output", str(folder), *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True)


def test_labels_are_those_of_emt(tmp_path):
    make(tmp_path, "--train", "6", "--test", "2")
    frames = read(tmp_path / "train.extxyz", ":")
    assert (len(frames), len(read(tmp_path / "test.extxyz", ":"))) == (6, 2)
    for atoms in frames:
        assert 4 <= len(atoms) <= 32
        again = atoms.copy()
        again.calc = EMT()
        assert again.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(again.get_forces(), atoms.get_forces(), atol=1e-5)
        np.testing.assert_allclose(again.get_stress(), atoms.get_stress(), atol=1e-6)


def test_configuration_is_valid():
    config = load_config(ROOT / "examples" / "copper.yaml")
    assert set(config.weights()) == {"energy", "forces", "stress"}


def test_comparison_finds_emts_lattice_constant():
    compare = runpy.run_path(str(ROOT / "examples" / "relax_copper.py"))["compare"]
    figures = compare(MorsePotential())
    assert figures["lattice_constant_emt_A"] == pytest.approx(3.59, abs=0.01)
    assert figures["converged_emt"]
    assert figures["converged_model"]
    ratio = figures["lattice_constant_model_A"] / figures["lattice_constant_emt_A"]
    assert figures["difference_percent"] == pytest.approx(100 * (ratio - 1))


@pytest.mark.slow
def test_trained_potential_finds_emts_lattice_constant(tmp_path):
    from equitools.training import train

    make(tmp_path / "data")
    overrides = [
        f"data.train={tmp_path}/data/train.extxyz", f"data.test={tmp_path}/data/test.extxyz", f"output={tmp_path}/run",
    ]  # fmt: skip
    result = train(load_config(ROOT / "examples" / "copper.yaml", overrides))
    stress = result.metrics["test"].row("stress")
    assert stress.rmse < 0.1 * stress.spread
    compare = runpy.run_path(str(ROOT / "examples" / "relax_copper.py"))["compare"]
    figures = compare(result.model_path)
    assert figures["converged_model"]
    assert abs(figures["difference_percent"]) < 0.5
