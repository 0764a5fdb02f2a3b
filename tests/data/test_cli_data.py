from __future__ import annotations

import json

import ase.io
import pytest
from typer.testing import CliRunner

from equitools import data
from equitools.cli.data import app
from equitools.errors import ConfigError, DataError


@pytest.fixture
def path(tmp_path, molecules):
    ase.io.write(tmp_path / "a.xyz", molecules)
    return tmp_path / "a.xyz"


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_info(path):
    result = run("info", path, "--cutoff", 4)
    assert result.exit_code == 0
    for words in ("energy", "eV/Å", "6/6", "H, C, N, O", "H2O (2)", "FFF (6)", "neighbours within 4 Å", "sha256:"):
        assert words in result.output


def test_info_with_named_keys(tmp_path, molecules):
    for atoms in molecules:
        atoms.info["REF_energy"] = atoms.calc.results["energy"]
        atoms.calc = None
    ase.io.write(tmp_path / "b.xyz", molecules)
    assert "info.REF_energy" in run("info", tmp_path / "b.xyz", "--label", "energy=REF_energy").output
    with pytest.raises(ConfigError, match="NAME=KEY"):
        run("info", tmp_path / "b.xyz", "--label", "energy")


def test_split(path, tmp_path):
    output = tmp_path / "split.json"
    result = run("split", path, "--train", 4, "--valid", 1, "--test", 1, "--seed", 3, "--output", output)
    assert "train 4, valid 1, test 1" in result.output
    assert json.loads(output.read_text())["details"]["seed"] == 3
    parts = data.read_split(output, data.read(path))
    assert sorted(index for part in parts.values() for index in part) == list(range(6))


def test_split_errors_leave_no_file(path, tmp_path):
    output = tmp_path / "split.json"
    with pytest.raises(ConfigError, match="--train takes a fraction"):
        run("split", path, "--train", "most", "--output", output)
    with pytest.raises(DataError, match="too few"):
        run("split", path, "--train", 40, "--output", output)
    with pytest.raises(DataError, match="does not exist"):
        run("split", tmp_path / "none.xyz", "--output", output)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.xyz"]


def test_help():
    for command in ([], ["info"], ["split"]):
        assert run(*command, "--help").exit_code == 0
