"""What pip makes of the source tree: with and without a compiler, isolated, from the built sdist and wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ASK = """
import json, torch
from equitools import ops
cpu = next(s for s in ops.status() if s.name == "cpu")
value = ops.spherical_harmonics(2, torch.tensor([[0.0, 1.0, 0.0]]))[0, 2].item()
print(json.dumps({"file": ops.__file__, "active": cpu.active, "reason": cpu.reason, "hint": cpu.hint, "value": value}))
"""


def run(*command, cwd, **environment):
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the source tree without anything that was built in it."""
    target = tmp_path_factory.mktemp("source") / "equitools"
    ignore = shutil.ignore_patterns(
        ".*", "*.so", "_build.json", "__pycache__", "build", "dist", "*.egg-info", "runs", "demo"
    )
    shutil.copytree(ROOT, target, ignore=ignore)
    return target


@pytest.fixture
def environment(tmp_path):
    """A fresh environment that borrows every package except equitools from the one that runs the tests."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=tmp_path).strip())
    borrowed = tmp_path / "borrowed"
    borrowed.mkdir()
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.lower().lstrip("_").startswith(("equitools", "editable")):
            (borrowed / entry.name).symlink_to(entry)
    (purelib / "borrowed.pth").write_text(f"{borrowed}\n")
    return python


def ask(python, tmp_path):
    return json.loads(run(python, "-c", ASK, cwd=tmp_path, EQUITOOLS_BACKEND="auto").splitlines()[-1])


@pytest.fixture
def without_compiler(tmp_path, environment):
    """A PATH on which there is no C++ compiler."""
    return {"PATH": str(environment.parent), "CXX": ""}


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_isolated_install_finds_torch(tree, environment, tmp_path):
    """Plain `pip install .`: needs the package index for setuptools, as pip's isolated builds do."""
    run(environment, "-m", "pip", "install", "--no-deps", tree, cwd=tmp_path)
    answer = ask(environment, tmp_path)
    assert answer["active"], answer
    assert str(tmp_path) in answer["file"]
    assert answer["value"] == pytest.approx(3**0.5)


def test_install_without_compiler(tree, environment, tmp_path, without_compiler):
    run(
        environment, "-m", "pip", "install", "--no-deps", "--no-build-isolation", tree, cwd=tmp_path, **without_compiler
    )
    answer = ask(environment, tmp_path)
    assert not answer["active"]
    assert "no C++ compiler" in answer["reason"]
    assert "make setup" in answer["hint"]
    assert answer["value"] == pytest.approx(3**0.5)
    table = run(environment.parent / "equitools", "info", cwd=tmp_path)
    assert "compiler" in table


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_failing_compiler_does_not_fail_the_install(tree, environment, tmp_path):
    broken = tmp_path / "broken++"
    broken.write_text("#!/bin/sh\necho 'error: this compiler is broken' >&2\nexit 1\n")
    broken.chmod(0o755)
    command = ("-m", "pip", "install", "--no-deps", "--no-build-isolation", tree)
    run(environment, *command, cwd=tmp_path, CXX=str(broken))
    answer = ask(environment, tmp_path)
    assert not answer["active"]
    assert "this compiler is broken" in answer["reason"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_sdist_and_wheel(tree, environment, tmp_path):
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", tree, cwd=tmp_path)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {n.split("/", 1)[1] for n in archive.getnames() if "/" in n}
    for needed in ("csrc/core/spherical_harmonics.h", "csrc/cpu/dispatch.cpp", "csrc/torch/segment.cpp", "setup.py"):
        assert needed in names
    assert "equitools/py.typed" in names
    assert not any(n.endswith(".so") for n in names)
    assert "cp311-abi3" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"equitools/_C.abi3.so", "equitools/py.typed"} <= names
    assert not any(n.startswith(("tests/", "csrc/", "benchmarks/")) for n in names)
    run(environment, "-m", "pip", "install", "--no-deps", wheel, cwd=tmp_path)
    assert ask(environment, tmp_path)["active"]
    assert json.loads(run(environment.parent / "equitools", "info", "--json", cwd=tmp_path))["equitools"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_torch_scatter_from_source(environment, tmp_path):
    """Builds torch-scatter against the torch that is here (minutes; needs the package index) and compares with ours."""
    command = ("-m", "pip", "install", "--no-deps", "--no-build-isolation", "torch-scatter")
    run(environment, *command, cwd=tmp_path, MAX_JOBS="2", FORCE_CPU="1")
    tests = ROOT / "tests" / "ops" / "test_segment.py"
    report = run(environment, "-m", "pytest", tests, "-k", "torch_scatter", "-rs", cwd=ROOT, PYTHONPATH=str(ROOT))
    assert "4 passed" in report, report
