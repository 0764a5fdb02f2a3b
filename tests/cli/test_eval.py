from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from ase import io
from cli_molecules import write_structures
from typer.testing import CliRunner

from equitools import models
from equitools.cli.eval import eval as evaluate
from equitools.errors import CheckpointError, ConfigError, DataError, LabelError, UnknownSpeciesError

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    write_structures(tmp_path / "data.xyz", 5)
    write_structures(tmp_path / "keys.xyz", 5, key="REF")
    network = models.build("egnn", cutoff=3.0, species=(1, 8), hidden=8, layers=1)
    models.save(models.Potential(network), tmp_path / "model.safetensors")
    return tmp_path


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(item) for item in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_table_json_plot_and_predictions(folder: Path) -> None:
    text = run(
        folder / "model.safetensors", folder / "data.xyz", "--plot", folder / "p.png", "--output", folder / "r.json",
        "--predictions", folder / "out.xyz", "--batch-size", "2",
    )  # fmt: skip
    for part in ("MAE", "RMSE", "std", "meV/Å", "meV/atom"):
        assert part in text
    facts = json.loads((folder / "r.json").read_text())
    assert facts["structures"] == 5
    assert facts["files"][0]["name"] == "data.xyz"
    assert (folder / "p.png").read_bytes()[:4] == b"\x89PNG"
    frames, labels = io.read(folder / "out.xyz", ":"), io.read(folder / "data.xyz", ":")
    errors = [
        np.abs(one.calc.results["forces"] - two.calc.results["forces"]).mean()
        for one, two in zip(frames, labels, strict=True)
    ]
    assert 1e3 * np.mean(errors) == pytest.approx(facts["errors"]["forces"]["mae"], rel=1e-4)


def test_labels_under_other_keys_and_dtype(folder: Path) -> None:
    text = run(
        folder / "model.safetensors", folder / "keys.xyz", "--labels", "energy=REF_energy",
        "--labels", "forces=REF_forces", "--dtype", "float64", "--output", folder / "r.json",
    )  # fmt: skip
    assert "forces" in text
    assert json.loads((folder / "r.json").read_text())["dtype"] == "float64"


def test_head_model(folder: Path) -> None:
    frames = io.read(folder / "data.xyz", ":")
    for index, atoms in enumerate(frames):
        atoms.info["gap"] = 0.1 * index
    io.write(folder / "gaps.xyz", frames)
    network = models.build("egnn", cutoff=3.0, species=(1, 8), hidden=8, layers=1)
    head = models.HeadModel(network, models.ScalarHead("gap"))
    models.save(head, folder / "head.safetensors")
    assert "gap" in run(folder / "head.safetensors", folder / "gaps.xyz", "--predictions", folder / "out.xyz")
    assert all("gap" in atoms.info for atoms in io.read(folder / "out.xyz", ":"))


def test_mistakes(folder: Path) -> None:
    model, data = folder / "model.safetensors", folder / "data.xyz"
    with pytest.raises(LabelError, match="--labels energy=KEY"):
        run(model, folder / "keys.xyz")
    with pytest.raises(ConfigError, match="NAME=KEY"):
        run(model, data, "--labels", "energy")
    with pytest.raises(ConfigError, match="float16"):
        run(model, data, "--dtype", "float16")
    with pytest.raises(DataError, match="absent"):
        run(model, folder / "absent.xyz")
    with pytest.raises(CheckpointError):
        run(data, data)
    frames = io.read(data, ":")
    frames[0].numbers[0] = 16
    io.write(folder / "sulphur.xyz", frames)
    with pytest.raises(UnknownSpeciesError, match="S"):
        run(model, folder / "sulphur.xyz", "--output", folder / "r.json")
    assert not (folder / "r.json").exists()
