"""The benchmark of trained networks: its parts of the data, its processes and its page; nothing is trained."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from benchmarks import gaunt_training
from benchmarks.products import many_body_page


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten structures, each with an energy of its own."""
    rng = np.random.default_rng(0)
    structures = []
    for k in range(10):
        atoms = Atoms("H2O", rng.normal(size=(3, 3)))
        atoms.calc = SinglePointCalculator(atoms, energy=float(k), forces=rng.normal(size=(3, 3)))
        structures.append(atoms)
    (tmp_path / "data" / "3bpa").mkdir(parents=True)
    write(tmp_path / "data" / "3bpa" / "train_300K.xyz", structures)
    return tmp_path / "data"


def test_a_fifth_is_set_apart(data: Path, tmp_path: Path) -> None:
    training, test, atoms = gaunt_training.files(data, "3bpa", tmp_path / "runs")
    assert atoms == data / "3bpa" / "iso_atoms.xyz"
    source = {a.get_potential_energy(): a for a in read(data / "3bpa" / "train_300K.xyz", index=":")}
    parts = [read(path, index=":") for path in (training, test)]
    assert [len(part) for part in parts] == [8, 2]
    energies = [atoms.get_potential_energy() for part in parts for atoms in part]
    assert sorted(energies) == list(range(10))  # disjoint and complete
    for found in (atoms for part in parts for atoms in part):
        wanted = source[found.get_potential_energy()]
        np.testing.assert_allclose(found.positions, wanted.positions, atol=1e-7)
        np.testing.assert_allclose(found.get_forces(), wanted.get_forces(), atol=1e-7)
    again = training.read_bytes(), test.read_bytes()
    gaunt_training.files(data, "3bpa", tmp_path / "runs")
    assert again == (training.read_bytes(), test.read_bytes())
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["3bpa_test.xyz", "3bpa_train.xyz"]


def _finished(run: Path) -> list[str]:
    """Return a command that leaves the files of a finished training."""
    result = {"timing": {"epochs": 1}, "structures": {}, "parameters": 3}
    errors = {"errors": {key: {"rmse": 1.0} for key in ("forces", "energy")}}
    lines = [f"p = __import__('pathlib').Path({str(run)!r})", "p.mkdir(exist_ok=True)"]
    for name, value in (("result", result), ("eval", errors)):
        lines.append(f"(p / '{name}.json').write_text({json.dumps(value)!r})")
    return [sys.executable, "-c", "; ".join(lines)]


def test_a_training_is_taken_again_only_where_it_is_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[int] = []

    def commands(parts: Any, network: str, run: Path, epochs: int) -> list[list[str]]:
        return [[*_finished(run), str(epochs)]]

    class Children(gaunt_training.Children):
        def run(self, command: list[str], log: Path) -> None:
            started.append(int(command[-1]))
            super().run(command, log)

    monkeypatch.setattr(gaunt_training, "commands", commands)

    def train(epochs: int, reuse: bool = False) -> int:
        parts = (tmp_path, tmp_path, tmp_path)
        row = gaunt_training.train(parts, "acac", "Gaunt product basis", tmp_path, epochs, Children(), reuse)
        assert set(row) == {"data", "network", "epochs", "structures", "parameters", "test"}
        return len(started)

    assert [train(1), train(1), train(2), train(2)] == [1, 1, 2, 2]
    (tmp_path / "acac_gaunt_product_basis" / "benchmark.json").unlink()  # as older runs are
    assert [train(2, reuse=True), train(2)] == [2, 3]


def test_when_one_fails_the_others_end(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path) -> None:
    networks = list(gaunt_training.NETWORKS)

    def commands(parts: Any, network: str, run: Path, epochs: int) -> list[list[str]]:
        fails = network == networks[1]
        sleeps = "import time; time.sleep(60); print('awake')"
        return [[sys.executable, "-c", "raise SystemExit(3)" if fails else sleeps]]

    monkeypatch.setattr(gaunt_training, "commands", commands)
    monkeypatch.setattr(gaunt_training, "DATA", {"3bpa": gaunt_training.DATA["3bpa"]})
    with pytest.raises(SystemExit, match=r"status 3: see .*3bpa_gaunt_product_basis\.log"):
        gaunt_training.trainings(data, tmp_path / "runs", 2, quick=True, reuse=False)
    assert {log.read_text() for log in (tmp_path / "runs").glob("*.log")} == {""}  # nobody slept to the end


def test_children_that_were_ended_stay_so(tmp_path: Path) -> None:
    children = gaunt_training.Children()
    failures: list[str] = []

    def work() -> None:
        try:
            children.run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
        except RuntimeError as failure:
            failures.append(str(failure))

    worker = threading.Thread(target=work)
    worker.start()
    while not children.running:
        time.sleep(0.01)
    children.end()
    worker.join()
    work()
    assert "status -15" in failures[0]
    assert "before this one was started" in failures[1]


def _row(data: str, network: str, rmse: float, **more: Any) -> dict[str, Any]:
    errors = {"forces": {"rmse": rmse}, "energy": {"rmse": 2.5}}
    counts = {"train": 8, "valid": 1, "test": 2}
    return {
        "data": data,
        "network": network,
        "epochs": 3,
        "structures": counts,
        "parameters": 1234,
        "test": errors,
        **more,
    }


def test_training_page_says_what_the_results_say() -> None:
    first, second = list(gaunt_training.NETWORKS)[:2]
    trained = [_row("acac", first, 7.25, minutes=3.0), _row("3bpa", first, 8.0), _row("3bpa", second, 9.0)]
    step = {"data": "3bpa", "structures": 10, "step_ms": {"median": 55.0}}
    steps = [{**step, "network": first, "peak_mb": 321.0}, {**step, "network": second, "peak_mb": None}]
    table = {
        "processor": "one", "threads": 2, "versions": {"torch": "2", "equitools": "0"}, "date": "2026-01-01",
        "command": "c", "result": {"trainings": trained, "steps": steps, "channels": 64, "batch": 5},
    }  # fmt: skip
    text = many_body_page.trainings(table)
    assert f"| acac | {first} | 1,234 | 3 | 7.25 | 2.5 | – | – |" in text
    assert f"| 3bpa | {first} | 1,234 | 3 | 8 | 2.5 | 55 | 321 |" in text
    assert f"| 3bpa | {second} | 1,234 | 3 | 9 | 2.5 | 55 | – |" in text
    assert "random fifth of `train_300K`" in text
    assert "`test_MD_300K`" in text
    assert "one seed" in text
    assert "minutes" not in text
    del table["result"]["trainings"][0]
    assert "`test_MD_300K`" not in many_body_page.trainings(table)
    assert "no results" in many_body_page.trainings(None)
