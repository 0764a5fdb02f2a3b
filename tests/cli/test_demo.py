"""``equitools demo``: its sampling, its error table, its report, and the whole of it at its smallest."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import typer
from ase.io import read
from rich.console import Console
from typer.testing import CliRunner

from equitools.cli import demo as demo_module
from equitools.cli.demo_report import label_errors, write_report
from equitools.cli.demo_sampling import SamplingPlan, sample_ethanol
from equitools.errors import MissingDependencyError

TINY = SamplingPlan(stride=5, equilibration=20, gap=30, train=6, test=4)


def test_frames_are_apart_and_reproducible():
    pytest.importorskip("tblite")
    one, two = sample_ethanol(TINY, seed=1), sample_ethanol(TINY, seed=1)
    assert (len(one.train), len(one.test)) == (6, 4)
    for a, b in zip(one.train + one.test, two.train + two.test, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
    for atoms in one.train + one.test:
        assert set(atoms.calc.results) == {"energy", "forces"}
        assert not atoms.has("momenta")
        np.testing.assert_allclose(atoms.get_center_of_mass(), 0, atol=1e-10)
    assert one.relaxed.get_potential_energy() < min(a.get_potential_energy() for a in one.train)
    assert not np.allclose(sample_ethanol(TINY, seed=2).train[0].positions, one.train[0].positions)


def test_without_tblite_the_message_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    app = typer.Typer()
    app.command()(demo_module.demo)
    result = CliRunner().invoke(app, ["--output", str(tmp_path / "demo")])
    assert isinstance(result.exception, MissingDependencyError)
    assert "pip install equitools[demo]" in str(result.exception)
    assert not (tmp_path / "demo").exists()


def test_label_errors_by_hand():
    class Frame:
        def __init__(self, energy, forces):
            self.calc = type("Calc", (), {"results": {"energy": energy, "forces": np.array(forces)}})()

    frames = [Frame(1.0, [[1.0, 0, 0]]), Frame(3.0, [[-1.0, 0, 0]])]
    results = [
        {"energy": 1.001, "forces": np.array([[1.003, 0, 0]])},
        {"energy": 2.997, "forces": np.array([[-1.0, 0, 0]])},
    ]
    errors = label_errors(frames, results)
    assert errors["energy"]["mae"] == pytest.approx(2.0)
    assert errors["energy"]["spread"] == pytest.approx(1000.0)
    assert errors["forces"]["mae"] == pytest.approx(0.5)
    assert errors["forces"]["rmse"] == pytest.approx(np.sqrt(9 / 6))
    assert errors["forces"]["mean_absolute"] == pytest.approx(2000 / 6)


def test_report_is_one_file_with_its_pictures_inside(tmp_path):
    (tmp_path / "parity.png").write_bytes(b"\x89PNG")
    rows = {"mae": 1.0, "rmse": 2.0, "spread": 30.0, "mean_absolute": 20.0}
    result = {
        "seed": 3,
        "seconds": {"sampling": 1.0},
        "sampling": {"label": "GFN2-xTB", "temperature": 450, "train": 8, "gap": 10, "timestep": 1.0, "test": 4},
        "training": {"model": "a<b", "parameters": 7, "dtype": "float32"},
        "errors": {"energy": rows, "forces": rows},
        "dynamics": {
            "simulated_ps": 1.0,
            "timestep": 0.5,
            "temperature_mean_K": 300.0,
            "temperature_std_K": 9.0,
            "energy_drift_meV_per_atom_per_ps": 0.01,
            "energy_max_deviation_meV_per_atom": 0.5,
            "molecule_intact": False,
            "changed_bonds": ["C0-H3 broke"],
        },
        "targets": [{"what": "drift", "value": 2.0, "below": 1.0, "unit": "meV", "met": False}],
    }
    write_report(tmp_path / "r.html", result, "E(3): ok", [(tmp_path / "parity.png", "p"), (tmp_path / "no.png", "n")])
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    for words in ("a&lt;b", "C0-H3 broke", "missed", "5.00 %", "E(3): ok"):
        assert words in page


def test_smallest_demo_leaves_everything(tmp_path):
    pytest.importorskip("tblite")
    out = tmp_path / "demo"
    result = demo_module.run_demo(out, demo_module.FAST, 0, Console(quiet=True))
    for name in (
        "ethanol.extxyz", "ethanol_test.extxyz", "model.safetensors", "parity.png", "learning_curve.png",
        "energy_conservation.png", "report.html", "result.json", "md/thermo.csv", "md/trajectory.extxyz",
    ):  # fmt: skip
        assert (out / name).stat().st_size > 0, name
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "meV/atom/ps" in page
    assert len(read(out / "ethanol.extxyz", ":")) == 60
    assert result["equivariance"]["passed"]
    assert not list(out.rglob(".*"))
