"""``equitools check`` on good and broken model files."""

from __future__ import annotations

import json

import broken_models as bm
import pytest
import torch
import typer
from ase.build import bulk, molecule
from ase.io import write
from typer.testing import CliRunner

import equitools as et
from equitools.cli.check import check, run_checks
from equitools.errors import CheckpointError, DataError, UnknownSpeciesError
from equitools.testing import build_graph, random_molecule

app = typer.Typer()
app.command()(check)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = et.models.build("egnn", cutoff=3.5, species=(1, 6, 8, 29), hidden=8, layers=2)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    et.save(et.models.Potential(network, reference_energies={1: -13.0, 6: -1000.0, 8: -2000.0, 29: -45000.0}), path)
    return path


@pytest.fixture
def molecules(tmp_path):
    path = tmp_path / "molecules.extxyz"
    write(path, [molecule("CH3CH2OH"), molecule("H2O"), molecule("CH4")])
    return path


def test_random_molecules(model):
    result = run(model, "--structures", 2, "--trials", 1)
    assert result.exit_code == 0, result.output
    assert "float64" in result.output
    assert "float32" in result.output
    assert "forces agree with finite differences" in result.output
    assert "passed on 2 structures" in result.output


def test_structures_of_a_file(model, molecules):
    result = run(model, molecules, "--trials", 1, "--verbose")
    assert result.exit_code == 0, result.output
    assert "structure 2" in result.output
    assert "reflection" in result.output


def test_periodic_structure_gets_its_stress_checked(model, tmp_path):
    path = tmp_path / "copper.extxyz"
    atoms = bulk("Cu")
    atoms.rattle(0.05, seed=1)
    write(path, atoms)
    result = run(model, path, "--trials", 1)
    assert result.exit_code == 0, result.output
    assert "stress agree" in result.output
    assert "lattice translation" in result.output


def test_json(model, molecules):
    result = run(model, molecules, "--json", "--structures", 1, "--trials", 1)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["passed"] is True
    assert found["group"] == "E(3)"
    (first,) = found["structures"]
    assert [report["dtype"] for report in first["equivariance"]] == ["float64", "float32"]
    assert first["finite_differences"][0]["passed"] is True


def test_broken_model_exits_with_one(model, monkeypatch):
    monkeypatch.setattr(et.models, "load", lambda path, device: bm.PseudoScalar())
    result = run(model, "--structures", 1, "--trials", 1)
    assert result.exit_code == 1, result.output
    assert "BROKEN" in result.output
    assert "inversion" in result.output
    assert run(model, "--structures", 1, "--trials", 1, "--group", "SE(3)").exit_code == 0


def test_forces_that_are_no_gradient_are_broken():
    graph = build_graph([random_molecule((1, 6, 8), 5)], 4.0)
    result = run_checks(bm.DirectForces(), graph, "a molecule", trials=1)
    assert all(report.passed for report in result.reports)
    assert not result.passed
    assert json.dumps(result.to_dict(), allow_nan=False)


def test_user_mistakes(model, tmp_path):
    assert isinstance(run(tmp_path / "absent.safetensors").exception, CheckpointError)
    assert isinstance(run(model, tmp_path / "absent.xyz").exception, DataError)
    foreign = tmp_path / "nitrogen.extxyz"
    write(foreign, molecule("N2"))
    assert isinstance(run(model, foreign).exception, UnknownSpeciesError)
