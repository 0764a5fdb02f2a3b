"""The kernels of edges and layers, without torch, under the address and undefined-behaviour sanitizers."""

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
PROGRAMS = {
    "edges": (("kernels", "radial"), ("dispatch", "radial", "spherical_harmonics_table")),
    "layers": (("linear", "pointwise"), ()),
}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
@pytest.mark.parametrize("program", list(PROGRAMS))
def test_program_under_sanitizers(tmp_path, program):
    families, plain = PROGRAMS[program]
    sets = FLAGS if platform.machine().lower() in {"x86_64", "amd64"} else {"baseline": []}
    cpu = ROOT / "csrc" / "cpu"
    parts = [(cpu / f"{family}_{name}.cpp", flags) for family in families for name, flags in sets.items()]
    parts += [(cpu / f"{name}.cpp", []) for name in plain] + [(Path(__file__).with_name(f"{program}.cpp"), [])]
    common = ["g++", "-std=c++20", "-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    common += ["-Wall", "-Wno-psabi", f"-I{ROOT / 'csrc'}"]
    objects = [str(tmp_path / f"{source.stem}.o") for source, _ in parts]
    for (source, flags), target in zip(parts, objects, strict=True):
        subprocess.run([*common, *flags, "-c", str(source), "-o", target], check=True)
    subprocess.run([*common, *objects, "-o", str(tmp_path / program)], check=True)
    done = subprocess.run([str(tmp_path / program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
