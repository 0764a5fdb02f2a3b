from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
import yaml
from cli_molecules import write_structures
from typer.testing import CliRunner

from equitools.cli.train import train
from equitools.errors import CheckpointError, ConfigError, DataError, LabelError

app = typer.Typer()
app.command()(train)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_structures(tmp_path / "train.xyz")
    config = {
        "output": str(tmp_path / "run"),
        "data": {"train": "train.xyz", "valid": {"count": 3}, "test": {"count": 2}, "batch_size": 4},
        "model": {"name": "egnn", "cutoff": 3.0, "hidden": 8, "layers": 1},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_train_prints_census_and_table_and_resumes(folder: Path) -> None:
    config = str(folder / "config.yaml")
    text = run(config, "trainer.max_epochs=1")
    for part in ("energy", "forces", "12 structures", "epoch 1/1", "meV/Å", "RMSE", "std"):
        assert part in " ".join(text.split())
    split = json.loads((folder / "run" / "split.json").read_text())
    assert [len(split["parts"][name]) for name in ("train", "valid", "test")] == [7, 3, 2]
    text = run(config, "trainer.max_epochs=2", "--resume")
    assert "Resumed after epoch 1" in text
    assert "epoch 2/2" in text
    again = run(config, "--overwrite", f"data.split={folder / 'run' / 'split.json'}", "seed=5")
    assert "epoch 1/2" in again
    assert json.loads((folder / "run" / "split.json").read_text())["parts"] == split["parts"]


def test_keys_of_their_own(folder: Path) -> None:
    write_structures(folder / "train.xyz", key="REF")
    with pytest.raises(LabelError, match="REF_energy"):
        run(str(folder / "config.yaml"))
    assert not (folder / "run").exists()
    text = run(str(folder / "config.yaml"), "data.labels={energy: REF_energy, forces: REF_forces}")
    assert "RMSE" in text


def test_mistakes(folder: Path) -> None:
    config = str(folder / "config.yaml")
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        run(str(folder / "absent.yaml"))
    with pytest.raises(ConfigError, match="Did you mean 'hidden'"):
        run(config, "model.hiden=3")
    with pytest.raises(ConfigError, match=r"model\.cutoff"):
        run(config, "model.cutoff=wide")
    with pytest.raises(DataError, match="too few"):
        run(config, "data.train_size=500")
    with pytest.raises(DataError, match=r"nothing\.xyz"):
        run(config, "data.train=nothing.xyz")
    with pytest.raises(CheckpointError, match="nothing to resume"):
        run(config, "--resume")
    assert not (folder / "run").exists()


def test_resume_refuses_other_data(folder: Path) -> None:
    config = str(folder / "config.yaml")
    run(config)
    write_structures(folder / "train.xyz", count=13)
    with pytest.raises(ConfigError, match="training data"):
        run(config, "--resume")


def test_help_reads_well() -> None:
    text = " ".join(run("--help").split())
    assert "KEY.SUB=VALUE" in text
    assert "torchrun" in text
