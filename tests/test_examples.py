"""Everything in ``examples`` runs as a newcomer would run it, made short."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from equitools.training import load_config

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SHORT = ["model.channels=2", "trainer.max_epochs=1", "trainer.max_time_minutes=1"]


def run(*words, cwd):
    found = subprocess.run(  # noqa: PLW1510 - the output is shown on failure
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-4000:]
    return found.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_configurations_are_valid(path):
    config = load_config(path, [])
    assert config.model["name"] if isinstance(config.model, dict) else config.model
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_scripts_compile_and_say_what_they_do(path):
    code = path.read_text(encoding="utf-8")
    compile(code, str(path), "exec")
    assert code.lstrip().startswith('"""')


def test_library_runs(tmp_path):
    out = run(EXAMPLES / "library.py", cwd=tmp_path)
    assert "passed" in out


def test_compiled_calculator_compares(tmp_path):
    out = run(EXAMPLES / "compiled_calculator.py", "--repeats", 1, cwd=tmp_path)
    assert [line.split(":")[0].strip() for line in out.splitlines()] == ["autograd", "compiled", "compiled, tables"]
    for line in out.splitlines():
        assert "no compiled form" in line or float(line.split("differ by ")[1].split()[0]) < 1e-6


def test_tetris_tells_what_it_told(tmp_path):
    out = run(EXAMPLES / "tetris.py", "--product", "gaunt", "--steps", 2, cwd=tmp_path)
    assert "of 8 shapes" in out
    assert float(out.split("differ by ")[1].split()[0]) < 1e-5  # the chiral pair, however short the training


def test_diagram_layers_do_not_see_the_order(tmp_path):
    out = run(EXAMPLES / "diagram_layers.py", "--steps", 2, cwd=tmp_path)
    assert float(out.split("it differs by ")[1].split()[0]) < 1e-4  # however short the training
    rotations, reflections = out.splitlines()[1:]
    assert float(rotations.split("largest error ")[1]) < 1e-5 < 1 < float(reflections.split("largest error ")[1])
    assert "no diagram" in reflections


def test_symmetrize_compares(tmp_path):
    out = run(EXAMPLES / "symmetrize.py", cwd=tmp_path)
    rows = {line[:24].strip(): line[24:].split() for line in out.splitlines() if "e-0" in line or "e+0" in line}
    assert [rows[name][0] for name in ("the bare network", "one eigensolver call")] == ["BROKEN"] * 2
    assert [rows[name][0] for name in ("full", "weighted", "stochastic, evaluated")] == ["passed"] * 3
    assert float(rows["weighted"][1]) < 1e-6 < float(rows["one eigensolver call"][1])


def test_a_symmetry_is_looked_for(tmp_path):
    out = run(EXAMPLES / "find_symmetry.py", "--epochs", 1, "--trajectories", 20, cwd=tmp_path)
    assert 0 <= float(out.split("cosine with the rotation ")[1].split(",")[0]) <= 1
    assert 0.4 < float(out.split("accuracy ")[1].split()[0].rstrip(".,")) < 1


@pytest.mark.parametrize("kind", ["vectors", "poses"])
def test_a_classifier_of_clouds_is_adapted(tmp_path, kind):
    short = ["--train", 26, "--test", 13, "--epochs", 1]
    out = run(EXAMPLES / "adapt_point_cloud.py", "--canonicalizer", kind, *short, cwd=tmp_path)
    upright, turned = (part.split()[1] for part in out.split("adapted: ")[1].splitlines()[0].split(", "))
    assert upright == turned  # exactly invariant, however short the training


def test_a_classifier_of_digits_under_affine_maps(tmp_path):
    pytest.importorskip("sklearn")
    out = run(EXAMPLES / "affine_digits.py", "--epochs", 1, "--train", 64, cwd=tmp_path)
    sizes = [int(line.split(": ")[1].split()[0]) for line in out.splitlines()]
    assert abs(sizes[1] / sizes[0] - 1) <= 0.02
    assert all("affine" in line for line in out.splitlines())


def test_soft_symmetry_finds_the_axis(tmp_path):
    out = run(EXAMPLES / "soft_symmetry.py", "--epochs", 40, "--channels", 48, cwd=tmp_path)
    weights = {line[:12].strip(): float(line.split()[-1]) for line in out.splitlines() if line.startswith("O(")}
    assert weights["O(2) in xy"] == 1.0  # the largest stays what it was
    assert min(weights, key=weights.get) == "O(3)"


def test_water_trains(tmp_path):
    output = tmp_path / "water"
    run("-m", "equitools", "train", EXAMPLES / "water.yaml", f"output={output}", *SHORT, cwd=ROOT)
    assert (output / "model.safetensors").is_file()
    assert json.loads((output / "result.json").read_text())


def test_copper_from_labels_to_lattice_constant(tmp_path):
    data, output = tmp_path / "data", tmp_path / "copper"
    run(EXAMPLES / "make_copper.py", "--output", data, "--train", 12, "--test", 3, cwd=tmp_path)
    files = [f"data.train={data / 'train.extxyz'}", f"data.test={data / 'test.extxyz'}", "data.valid.fraction=0.2"]
    run("-m", "equitools", "train", EXAMPLES / "copper.yaml", f"output={output}", *files, *SHORT, cwd=tmp_path)
    model = output / "model.safetensors"
    assert model.is_file()
    result = json.loads((output / "result.json").read_text())
    assert "stress" in json.dumps(result)
    # an untrained potential may not relax well; that it runs and reports is what is tested here
    assert "usage" in run(EXAMPLES / "relax_copper.py", "--help", cwd=tmp_path).lower()


def test_groups_are_shown(tmp_path):
    out = run(EXAMPLES / "lie_groups.py", cwd=tmp_path)
    errors = {line.split()[0]: line.split()[2:] for line in out.split("\n\n")[0].splitlines()[1:]}
    assert all(float(error) < 1e-12 for error, _ in errors.values())
    assert {name for name, (_, modular) in errors.items() if float(modular) > 1e-6} == {"SIM(2)", "R^2:GL+(2)"}
    assert "polar" in out.split("No logarithm in GL+(2)")[1].splitlines()[0]
    assert "under SL(2): passed" in out
    assert "under GL+(2): BROKEN" in out


def test_flows_are_learned_by_a_network_that_can_be_turned(tmp_path):
    out = run(EXAMPLES / "gfno.py", "--flows", 2, "--epochs", 1, cwd=tmp_path)
    upright = float(out.split("upright: ")[1].split()[0])
    turned = [float(word.split()[0]) for word in out.split("turned: ")[1].split(",")]
    assert max(abs(value - upright) for value in turned) < 1e-3
