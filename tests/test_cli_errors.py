"""Bad input at the command line: one clear paragraph on the error stream, exit code 2, no half-written file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

import equitools as et


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    """Run the program as ``main`` does, in an empty folder; returns exit code, error text and new files."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments):
        from equitools.cli.app import main

        before = listing(tmp_path)
        monkeypatch.setattr(sys, "argv", ["equitools", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code
        text = capsys.readouterr()
        return code, text.err, sorted(listing(tmp_path) - before), text.out

    return run


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def labelled(atoms: Atoms, seed: int = 0, forces: float = 1.0, energy: float = -10.0) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
    values = forces * rng.standard_normal(atoms.positions.shape)
    atoms.calc = SinglePointCalculator(atoms, energy=energy + 0.1 * rng.standard_normal(), forces=values)
    return atoms


@pytest.fixture(scope="module")
def water_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "water.extxyz"
    write(path, [labelled(molecule("H2O"), seed) for seed in range(8)])
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    et.save(et.models.Potential(et.models.build("egnn", cutoff=3.0, species=(1, 8), hidden=8, layers=1)), path)
    return path


def config_file(folder: Path, train: Path, **changes) -> Path:
    content = {
        "seed": 0,
        "output": str(folder / "run"),
        "data": {"train": str(train), "valid": {"count": 2}, "batch_size": 2},
        "model": {"name": "egnn", "cutoff": 3.0, "hidden": 4, "layers": 1},
        "loss": {"energy": 1.0, "forces": 1.0},
        "trainer": {"max_epochs": 1},
    }
    for key, value in changes.items():
        *sections, last = key.split("__")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def assert_refused(outcome, *words, allowed=()):
    code, text, created, _ = outcome
    assert code == 2, f"exit code {code}: {text}"
    assert "Traceback" not in text
    assert text.count("\n") <= 2, f"more than one paragraph: {text}"
    assert text.startswith("Error:"), text
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in: {text}"
    created = [name for name in created if Path(name).name not in allowed]
    assert not created, f"left behind: {created}"


BAD_CONFIGS = {
    "unknown key": ({"optimizer__learning_rat": 0.1}, ["learning_rat"]),
    "misspelt section": ({"potentials__scale": 1.0}, ["potentials", "potential"]),
    "wrong type": ({"trainer__max_epochs": "many"}, ["max_epochs", "many"]),
    "unknown model": ({"model__name": "egn"}, ["egn", "egnn"]),
    "unknown model option": ({"model__hidden_size": 8}, ["hidden_size", "hidden"]),
    "missing file": ({"data__train": "absent.xyz"}, ["absent.xyz"]),
    "negative weight": ({"loss__forces": -1.0}, ["forces"]),
    "label that is not there": ({"loss__stress": 1.0}, ["stress"]),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_bad_configuration(case, program, tmp_path, water_file):
    changes, words = BAD_CONFIGS[case]
    assert_refused(program("train", config_file(tmp_path, water_file, **changes)), *words)


def test_bad_override(program, tmp_path, water_file):
    path = config_file(tmp_path, water_file)
    assert_refused(program("train", path, "trainer.max_epoch=3"), "max_epoch", "max_epochs")
    assert_refused(program("train", path, "trainer.max_epochs"), "trainer.max_epochs")
    assert_refused(program("train", tmp_path / "absent.yaml"), "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("seed: [1, 2\n")
    assert_refused(program("train", broken), "broken.yaml")


def spoiled(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.extxyz"
    frames = [labelled(molecule("H2O"), seed) for seed in range(6)]
    if kind == "empty":
        path.write_text("")
        return path
    if kind == "nan_positions":
        for frame in frames:
            frame.positions[1, 2] = np.nan
    elif kind == "nan_forces":
        frames[3].calc.results["forces"][0, 0] = np.nan
    elif kind == "infinite_energy":
        frames[3].calc.results["energy"] = np.inf
    elif kind == "huge_forces":
        frames = [labelled(molecule("H2O"), seed, forces=1e3) for seed in range(6)]
    elif kind == "flat_cell":
        frames = [labelled(Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]], cell=[5, 5, 0], pbc=True), s) for s in range(6)]
    write(path, frames)
    if kind == "truncated":
        path.write_text(path.read_text()[:-40])
    return path


BAD_FILES = {
    "empty": ["empty"],
    "truncated": ["truncated"],
    "nan_positions": ["positions"],
    "nan_forces": ["forces"],
    "infinite_energy": ["energy"],
    "huge_forces": ["eV/Å"],
    "flat_cell": ["cell"],
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_training_file(kind, program, tmp_path):
    path = spoiled(kind, tmp_path)
    assert_refused(program("train", config_file(tmp_path, path)), *BAD_FILES[kind])


@pytest.mark.parametrize("kind", ["empty", "truncated", "nan_positions", "flat_cell"])
@pytest.mark.parametrize("command", ["eval", "check", "md", "relax"])
def test_bad_structure_file(command, kind, program, model, tmp_path):
    assert_refused(program(command, model, spoiled(kind, tmp_path)))


def test_data_info_on_bad_files(program, tmp_path):
    assert_refused(program("data", "info", tmp_path / "absent.xyz"), "absent.xyz")
    assert_refused(program("data", "info", spoiled("empty", tmp_path)), "empty")
    assert_refused(program("data", "info", spoiled("truncated", tmp_path)))


@pytest.mark.parametrize("command", ["eval", "check", "md", "relax"])
def test_an_element_that_the_model_has_never_seen(command, program, model, tmp_path):
    path = tmp_path / "methane.extxyz"
    write(path, labelled(molecule("CH4")))
    assert_refused(program(command, model, path), "C")


@pytest.mark.parametrize("command", ["eval", "check", "md", "relax"])
def test_model_files_that_cannot_be_read(command, program, model, water_file, tmp_path):
    absent, truncated, foreign = (tmp_path / f"{name}.safetensors" for name in ("absent", "truncated", "foreign"))
    truncated.write_bytes(model.read_bytes()[:-100])
    foreign.write_bytes(b"not a model at all")
    for path in (absent, truncated, foreign):
        assert_refused(program(command, path, water_file), path.name)


def test_a_model_of_a_newer_format(program, model, water_file, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "newer.safetensors"
    with safe_open(model, "pt") as stored:
        content = json.loads(stored.metadata()["equitools"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
    content["format_version"] += 1000
    save_file(tensors, path, {"equitools": json.dumps(content)})
    assert_refused(program("check", path, water_file), "newer", "format")


def test_md_refuses_what_makes_no_sense(program, model, water_file):
    assert_refused(program("md", model, water_file, "--timestep", "-1"))
    assert_refused(program("md", model, water_file, "--ensemble", "nvee"), "nvee", "nve")
    assert_refused(program("md", model, water_file, "--dtype", "float23"), "float23")


def test_irreps_that_cannot_be_produced(program, tmp_path, water_file):
    path = config_file(
        tmp_path,
        water_file,
        model={"name": "many_body_mp", "cutoff": 3.0, "channels": 2, "hidden_lmax": 0, "num_layers": 1},
        head={"kind": "node_vector", "name": "forces"},
        data={"train": str(water_file), "valid": {"count": 2}, "batch_size": 2, "labels": {"forces": "forces"}},
        loss={"target": 1.0},
    )
    assert_refused(program("train", path), "1o")


def test_success_and_help_do_not_look_like_errors(program):
    code, err, created, out = program("--help")
    assert code == 0
    assert not err
    assert not created
    for command in ("info", "demo", "data", "train", "eval", "check", "md", "relax"):
        assert command in out
        code, err, _, page = program(command, "--help")
        assert code == 0
        assert "Usage" in page


def test_exit_code_of_the_real_program(tmp_path):
    if shutil.which(sys.executable) is None:
        pytest.skip("no Python to start")
    found = subprocess.run(  # noqa: PLW1510 - the exit code is what is tested
        [sys.executable, "-m", "equitools", "check", "absent.safetensors"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 2, found.stderr
    assert found.stderr.startswith("Error:")
    assert "absent.safetensors" in found.stderr
    assert "Traceback" not in found.stderr


def test_edge_index_out_of_range_and_the_like():
    graph = et.graph.Graph.from_ase(molecule("H2O"), 3.0)
    from equitools.errors import GraphError

    for changes, words in (
        ({"edge_index": graph.edge_index + 2}, "edge_index"),
        ({"positions": graph.positions * torch.nan}, "positions"),
        ({"pbc": torch.tensor([[True, False, False]])}, "cell"),
    ):
        with pytest.raises(GraphError, match=words):
            graph.replace(**changes).validate()
    with pytest.raises(GraphError):
        et.graph.Graph.from_ase(Atoms("Cu", cell=[3, 3, 0], pbc=True), 3.0)
    assert et.graph.Graph.from_ase(bulk("Cu"), 3.0).num_edges
