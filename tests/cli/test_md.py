"""``equitools md`` on a small model file."""

from __future__ import annotations

import csv
import json

import pytest
import torch
import typer
from ase.build import bulk, molecule
from ase.io import read, write
from typer.testing import CliRunner

import equitools as et
from equitools.cli.md import md
from equitools.errors import CheckpointError, ConfigError, DataError, EquitoolsError, UnknownSpeciesError

app = typer.Typer()
app.command()(md)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = et.models.build("egnn", cutoff=4.0, species=(1, 6, 8), hidden=8, layers=1)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    et.save(et.models.Potential(network, scale=0.1), path)
    return path


@pytest.fixture
def ethanol(tmp_path):
    path = tmp_path / "ethanol.xyz"
    write(path, molecule("CH3CH2OH"))
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_nve_leaves_all_files(model, ethanol, tmp_path):
    out = tmp_path / "out"
    result = run(model, ethanol, "--steps", 40, "--timestep", 0.2, "--temperature", 100, "--output", out)
    assert result.exit_code == 0, result.output
    assert "meV/atom/ps" in result.output
    assert sorted(p.name for p in out.iterdir()) == [
        "energy_conservation.png",
        "md.json",
        "thermo.csv",
        "trajectory.extxyz",
    ]
    assert len(read(out / "trajectory.extxyz", ":")) == 5
    figures = json.loads((out / "md.json").read_text())
    assert figures["steps_done"] == 40
    assert isinstance(figures["energy_drift_meV_per_atom_per_ps"], float)
    assert (out / "energy_conservation.png").read_bytes()[:4] == b"\x89PNG"
    with (out / "thermo.csv").open() as handle:
        assert len(list(csv.reader(handle))) == 6


def test_nvt_with_time_and_equilibration(model, ethanol, tmp_path):
    result = run(
        model,
        ethanol,
        "--ensemble",
        "nvt",
        "--time",
        0.004,
        "--timestep",
        0.2,
        "--equilibrate",
        0.002,
        "-o",
        tmp_path / "out",
    )
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "md.json").read_text())["steps_done"] == 20


def test_radial_tables(ethanol, tmp_path):
    torch.manual_seed(0)
    network = et.models.build("many_body_mp", cutoff=4.0, species=(1, 6, 8), channels=4, l_max=1, radial_hidden=(8,))
    path = tmp_path / "model.safetensors"
    et.save(et.models.Potential(network.double(), scale=0.1), path)
    ends = {}
    for radial in ("exact", "tabulated") if et.ops.backend.extension_loaded() else ("exact",):
        out = tmp_path / radial
        result = run(path, ethanol, "--steps", 5, "--interval", 5, "--radial", radial, "-o", out)
        assert result.exit_code == 0, result.output
        ends[radial] = read(out / "trajectory.extxyz", -1).positions
    assert abs(ends["exact"] - ends.get("tabulated", ends["exact"])).max() < 1e-6


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--radial", "spline"], EquitoolsError, "tabulated"),
        (["--radial", "tabulated"], EquitoolsError, "EGNN"),
        (["--steps", "0"], ConfigError, "steps"),
        (["--steps", "5", "--time", "1"], ConfigError, "either"),
        (["--ensemble", "nev"], ConfigError, "nve"),
        (["--ensemble", "npt"], ConfigError, "periodic"),
        (["--timestep", "0"], ConfigError, "timestep"),
        (["--time", "-1"], ConfigError, "--time"),
        (["--index", "7"], DataError, "index 7"),
        (["--keep-velocities"], ConfigError, "velocities"),
    ],
)
def test_bad_options(model, ethanol, tmp_path, arguments, error, words):
    result = run(model, ethanol, "-o", tmp_path / "out", *arguments)
    assert isinstance(result.exception, error), result.exception
    assert words in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["missing", "empty", "garbage", "folder", "nan", "zero cell"])
def test_bad_structures(model, tmp_path, fault):
    path = tmp_path / "start.xyz"
    if fault == "empty":
        path.touch()
    elif fault == "garbage":
        path.write_text("9\n\nC 0 0\n")
    elif fault == "folder":
        path.mkdir()
    elif fault == "nan":
        path.write_text("1\n\nC 0 nan 0\n")
    elif fault == "zero cell":
        path.write_text('1\npbc="T T T" Properties=species:S:1:pos:R:3\nC 0 0 0\n')
    result = run(model, path, "-o", tmp_path / "out")
    assert isinstance(result.exception, et.errors.EquitoolsError), result.exception
    assert not (tmp_path / "out").exists()


def test_unknown_element(model, tmp_path):
    path = tmp_path / "copper.xyz"
    write(path, bulk("Cu"), format="extxyz")
    result = run(model, path, "-o", tmp_path / "out")
    assert isinstance(result.exception, UnknownSpeciesError)
    assert "Cu" in str(result.exception)


def test_bad_model_files(model, ethanol, tmp_path):
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(model.read_bytes()[:200])
    for path in (truncated, tmp_path / "missing.safetensors"):
        result = run(path, ethanol, "-o", tmp_path / "out")
        assert isinstance(result.exception, CheckpointError), result.exception
    assert not (tmp_path / "out").exists()


def test_the_program_ends_with_code_2(model, tmp_path, monkeypatch, capsys):
    from equitools.cli.app import main

    monkeypatch.setattr("sys.argv", ["equitools", "md", str(model), str(tmp_path / "missing.xyz")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "does not exist" in capsys.readouterr().err.replace("\n", " ")
