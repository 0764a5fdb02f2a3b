"""``equitools relax`` on a small model file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import typer
from ase.build import bulk
from ase.io import read, write
from typer.testing import CliRunner

import equitools as et
from equitools.cli.relax import relax
from equitools.errors import ConfigError, DataError

app = typer.Typer()
app.command()(relax)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = et.models.build("egnn", cutoff=3.5, species=(29,), hidden=8, layers=1)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    et.save(et.models.Potential(network, scale=0.01), path)
    return path


@pytest.fixture
def copper(tmp_path):
    path = tmp_path / "copper.extxyz"
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    write(path, atoms)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("cell", [[], ["--cell"]])
def test_relax(model, copper, tmp_path, cell):
    output = tmp_path / "out" / "relaxed.extxyz"
    result = run(model, copper, "--fmax", 0.05, "--output", output, "--dtype", "float64", *cell)
    assert result.exit_code == 0, result.output
    assert "energy (eV)" in result.output
    figures = json.loads(output.with_suffix(".json").read_text())
    assert figures["converged"]
    atoms = read(output)
    assert np.sqrt(np.square(atoms.get_forces()).sum(1)).max() <= 0.05
    assert np.allclose(atoms.cell[:], read(copper).cell[:]) == (not cell) or figures["steps"] == 0


def test_not_converged_is_code_1(model, copper, tmp_path):
    output = tmp_path / "out.extxyz"
    result = run(model, copper, "--fmax", 1e-9, "--steps", 1, "--output", output)
    assert result.exit_code == 1
    assert "Not converged" in result.output
    assert output.exists()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--optimizer", "bfsg"], ConfigError, "'bfgs'"),
        (["--fmax", "0"], ConfigError, "fmax"),
        (["--steps", "0"], ConfigError, "steps"),
        (["--index", "3"], DataError, "index 3"),
    ],
)
def test_bad_options(model, copper, tmp_path, arguments, error, words):
    output = tmp_path / "out.extxyz"
    result = run(model, copper, "--output", output, *arguments)
    assert isinstance(result.exception, error), result.exception
    assert words in str(result.exception)
    assert not output.exists()
