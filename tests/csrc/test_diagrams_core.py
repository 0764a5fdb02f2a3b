"""The kernels of sums of rows and of layers of diagrams without torch, under sanitizers, beside plain loops."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma"],
}


def _sets() -> dict[str, list[str]]:
    return FLAGS if platform.machine().lower() in {"x86_64", "amd64"} else {"baseline": []}


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_kernels_under_sanitizers(tmp_path: Path) -> None:
    common = ["g++", "-std=c++20", "-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    common += ["-Wall", "-Wno-psabi", f"-I{ROOT / 'csrc'}"]
    objects = []
    for name, flags in _sets().items():
        objects.append(str(tmp_path / f"{name}.o"))
        source = ROOT / "csrc" / "cpu" / f"sparse_rows_{name}.cpp"
        subprocess.run([*common, *flags, "-c", str(source), "-o", objects[-1]], check=True)
    program = str(tmp_path / "host")
    subprocess.run([*common, str(Path(__file__).with_name("diagrams_host.cpp")), *objects, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "instruction sets" in done.stdout


@pytest.mark.skipif(shutil.which("g++") is None or shutil.which("nm") is None, reason="no g++ or nm")
@pytest.mark.parametrize("name", [name for name in _sets() if name != "baseline"])
def test_nothing_of_an_instruction_set_is_shared(name: str, tmp_path: Path) -> None:
    """The linker keeps one copy of what several objects define: that one could need what a processor does not have."""
    target = str(tmp_path / "kernels.o")
    source = ROOT / "csrc" / "cpu" / f"sparse_rows_{name}.cpp"
    subprocess.run(["g++", "-std=c++20", "-O2", *FLAGS[name], "-c", str(source), "-o", target], check=True)
    symbols = subprocess.run(["nm", "-C", "--defined-only", target], capture_output=True, text=True, check=True)
    weak = [line for line in symbols.stdout.splitlines() if line[17:18] in {"V", "W", "u"}]
    assert [line for line in weak if f"{name}::" not in line] == []
