"""The kernels of the symmetric contraction without torch, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_core import ROOT, isa_flags, sources

NEEDED = ("contraction", "dispatch", "kernels", "spherical_harmonics_table")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_host_program_under_sanitizers(tmp_path):
    common = ["g++", "-std=c++20", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    common += ["-Wall", "-Wno-psabi", f"-I{ROOT / 'csrc'}"]
    objects = []
    needed = [p for p in sources() if p.stem.startswith(NEEDED)]
    for source in [*needed, Path(__file__).with_name("contraction_host.cpp")]:
        objects.append(str(tmp_path / f"{source.stem}.o"))
        subprocess.run([*common, *isa_flags(source), "-c", str(source), "-o", objects[-1]], check=True)
    subprocess.run([*common, *objects, "-o", str(tmp_path / "host")], check=True)
    done = subprocess.run([str(tmp_path / "host")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
