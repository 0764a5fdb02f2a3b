"""One shared library for every torch since 2.10: the file that is built here, run under another torch.

``EQUITOOLS_OTHER_PYTHON`` names the interpreter of an environment that has one (and numpy, e3nn, pydantic, scipy,
hypothesis and pytest). Otherwise one is made: the registry's newest torch, or what ``EQUITOOLS_OTHER_TORCH`` asks for
("2.10.0"). Wheels with CUDA take some gigabytes and minutes; the environment is removed afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from equitools import ops

ROOT = Path(__file__).parents[2]
TESTS = ("test_spherical_harmonics.py", "test_segment.py", "test_conv_kernels.py", "test_contraction_kernels.py")
NEEDED = ("numpy", "e3nn", "pydantic", "scipy", "hypothesis", "pytest")
GIGABYTES = 20
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ops.extension_loaded(), reason="the compiled kernels are not built here"),
]


def run(*command: object, timeout: float = 1500, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(c) for c in command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def release(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.split("+", maxsplit=1)[0])[:3])


def other_version() -> str:
    """Return the torch that the registry offers and that is not the one here, or skip."""
    if asked := os.environ.get("EQUITOOLS_OTHER_TORCH"):
        return asked
    listed = run(sys.executable, "-m", "pip", "index", "versions", "torch", timeout=120)
    found = re.search(r"Available versions: (.*)", listed.stdout)
    if listed.returncode or not found:
        pytest.skip(f"the registry lists no torch: {listed.stderr.strip()[-200:]}")
    here = release(torch.__version__)
    others = [v for v in found[1].split(", ") if release(v)[:2] >= (2, 10) and release(v) != here]
    if not others:
        pytest.skip(f"the registry has no torch >= 2.10 besides {torch.__version__}")
    return max(others, key=release)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The interpreter of an environment with another torch."""
    if given := os.environ.get("EQUITOOLS_OTHER_PYTHON"):
        yield given
        return
    version = other_version()
    folder = tmp_path_factory.mktemp("other_torch")
    if shutil.disk_usage(folder).free < GIGABYTES * 1e9:
        pytest.skip(f"another torch may need {GIGABYTES} GB of disk")
    try:
        venv.create(folder, with_pip=True)
        interpreter = folder / "bin" / "python"
        done = run(interpreter, "-m", "pip", "install", "-q", "--no-cache-dir", f"torch=={version}", *NEEDED)
        if done.returncode:
            pytest.skip(f"torch {version} cannot be installed: {done.stderr.strip()[-300:]}")
        yield str(interpreter)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_same_library_runs_under_another_torch(python: str) -> None:
    loads = run(python, "-c", "import torch; print(torch.__version__)")
    if loads.returncode:
        pytest.skip(f"the other torch does not load here: {loads.stderr.strip()[-300:]}")
    version = loads.stdout.split()[-1]
    assert version != torch.__version__, "this is the torch that the library was built with"
    assert release(version)[:2] >= (2, 10)
    ask = "from equitools import ops; print(ops.__file__, ops.extension_loaded(), ops.status())"
    status = run(python, "-c", ask, PYTHONPATH=str(ROOT))
    assert f"{ROOT}/equitools/ops/__init__.py True" in status.stdout, status.stdout + status.stderr
    tests = [ROOT / "tests" / "ops" / name for name in TESTS]
    command = (python, "-m", "pytest", "-m", "not slow", "-x", *tests)
    report = run(*command, PYTHONPATH=str(ROOT), EQUITOOLS_BACKEND="auto", OMP_NUM_THREADS="1")
    print(f"torch {version}, built with {torch.__version__}: {report.stdout.strip().splitlines()[-1]}")
    assert report.returncode == 0, report.stdout[-4000:] + report.stderr[-2000:]
