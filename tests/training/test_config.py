from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from equitools.errors import ConfigError
from equitools.training import dump_config, load_config

BASE = """
data: {train: train.xyz, valid: {fraction: 0.2}}
model: {name: egnn, cutoff: 4.0}
optimizer: {lr: 1e-3}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(BASE)
    return path


def test_defaults_and_numbers_as_people_write_them(file: Path) -> None:
    config = load_config(file)
    assert config.optimizer.lr == 1e-3
    assert config.weights() == {"energy": 1.0, "forces": 100.0}
    assert config.data.valid.fraction == 0.2
    assert config.trainer.loggers == ["csv"]


def test_overrides(file: Path) -> None:
    config = load_config(
        file,
        ["loss.forces=10", "ema=null", "data.valid={count: 7}", "potential.reference_energies.file=iso.xyz", "seed=3",
         "potential.scale=2", "schedule=constant", "trainer.loggers=[csv, tensorboard]", "data.test=test.xyz"],
    )  # fmt: skip
    assert config.weights()["forces"] == 10.0
    assert config.ema is None
    assert config.data.valid.count == 7
    assert config.potential is not None
    assert Path(config.potential.reference_energies["file"]).name == "iso.xyz"
    assert config.potential.scale == 2.0
    assert config.schedule.kind == "constant"
    assert config.data.test is not None


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("loss.forcse=1", ["loss.forcse", "forces"]),
        ("lossy=1", ["'lossy'", "'loss'"]),
        ("lr=0.1", ["'lr'", "optimizer.lr"]),
        ("trainer.max_epochs=ten", ["trainer.max_epochs", "'ten'", "str", "integer"]),
        ("trainer.max_epochs=1.5", ["trainer.max_epochs", "1.5"]),
        ("optimizer.lr=-1", ["optimizer.lr", "-1"]),
        ("optimizer.lr=true", ["optimizer.lr", "True", "bool"]),
        ("dtype=float16", ["dtype", "float16", "float64"]),
        ("loss.kind=l3", ["loss.kind", "l3", "huber"]),
        ("data.valid={fraction: 0.1, count: 3}", ["data.valid", "fraction"]),
        ("data.valid.fractoin=0.1", ["data.valid.fractoin", "fraction"]),
        ("potential.reference_energies=guess", ["reference_energies", "guess", "fit"]),
        ("potential.scale=-1", ["potential.scale", "-1"]),
        ("model={cutoff: 4.0}", ["model.name"]),
        ("data={}", ["data.train"]),
        ("loss={energy: 0, forces: 0}", ["weights are 0"]),
        ("head={kind: scalar, name: gap}", []),
        ("schedule={kind: cosine, over: time}", ["max_time_minutes"]),
        ("nonsense", ["key.sub=value", "nonsense"]),
        ("loss.forces=[1", ["loss.forces=[1", "YAML"]),
    ],
)
def test_mistakes_name_the_key_and_what_was_given(file: Path, override: str, parts: list[str]) -> None:
    overrides = [override] if parts else [override, "potential={zbl: true}"]
    with pytest.raises(ConfigError) as caught:
        load_config(file, overrides)
    for part in parts or ["potential", "head", "both"]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        ("[1, 2]", "list"),
        ("data: {train: [a", "line 1"),
        ("seed: 1\nseed: 2", "given twice"),
        ("data: *unknown", "YAML"),
        ("x: !!python/object:os.system {}", "YAML"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=part):
        load_config(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_config(tmp_path / "absent.yaml")


def test_head_excludes_energy_weights(file: Path) -> None:
    config = load_config(file, ["head={kind: scalar, name: gap}"])
    assert config.weights() == {"gap": 1.0}
    with pytest.raises(ConfigError, match=r"loss\.forces"):
        load_config(file, ["head={kind: scalar, name: gap}", "loss.forces=1"])


def test_paths_current_folder_first_then_the_files(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = file.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (file.parent / "train.xyz").write_text("")
    assert load_config(file).data.train == [str(file.parent / "train.xyz")]
    (elsewhere / "train.xyz").write_text("")
    assert load_config(file).data.train == [str(elsewhere / "train.xyz")]


def test_dumped_configuration_reads_back(file: Path, tmp_path: Path) -> None:
    config = load_config(file, ["loss.energy=2", "potential.reference_energies={H: -13.6}", "early_stop.patience=5"])
    dump_config(config, tmp_path / "out" / "config.yaml")
    assert load_config(tmp_path / "out" / "config.yaml") == config
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["loss"]["energy"] == 2
