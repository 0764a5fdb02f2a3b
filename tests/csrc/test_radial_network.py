"""The kernels of radial networks without torch, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_core import ISA_FLAGS, ROOT, X86


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_radial_network_under_sanitizers(tmp_path):
    common = ["g++", "-std=c++20", "-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    common += ["-Wall", "-Wno-psabi", f"-I{ROOT / 'csrc'}"]
    sets = {"_baseline": [], **(ISA_FLAGS if X86 else {})}
    parts = [(ROOT / "csrc" / "cpu" / f"radial_network{name}.cpp", flags) for name, flags in sets.items()]
    parts.append((Path(__file__).with_name("radial_network_host.cpp"), []))
    objects = [str(tmp_path / f"{source.stem}.o") for source, _ in parts]
    for (source, flags), target in zip(parts, objects, strict=True):
        subprocess.run([*common, *flags, "-c", str(source), "-o", target], check=True)
    subprocess.run([*common, *objects, "-o", str(tmp_path / "host")], check=True)
    done = subprocess.run([str(tmp_path / "host")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
