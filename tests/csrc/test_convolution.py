"""The convolution's kernels without torch: the pattern they are unrolled by, and a host program under sanitizers."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import coupling_pattern
import pytest

ROOT = Path(__file__).parents[2]
FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma"],
}


def test_pattern_is_that_of_the_coupling_tensors():
    assert coupling_pattern.HEADER.read_text(encoding="utf-8") == coupling_pattern.header()


def test_pattern_program(monkeypatch, tmp_path):
    copy = tmp_path / "coupling_pattern.h"
    monkeypatch.setattr(coupling_pattern, "HEADER", copy)
    monkeypatch.setattr("sys.argv", ["coupling_pattern.py"])
    assert coupling_pattern.main() == 0
    monkeypatch.setattr("sys.argv", ["coupling_pattern.py", "--check"])
    assert coupling_pattern.main() == 0
    copy.write_text(copy.read_text(encoding="utf-8").replace("511", "510", 1), encoding="utf-8")
    assert coupling_pattern.main() == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_convolution_under_sanitizers(tmp_path):
    sets = FLAGS if platform.machine().lower() in {"x86_64", "amd64"} else {"baseline": []}
    common = ["g++", "-std=c++20", "-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    # The unrolled kernels are one template for all degrees; all of them, sanitized, cost the compiler gigabytes.
    # tests/ops/test_conv_kernels.py compares them all.
    common += ["-DEQUITOOLS_UNROLLED_DEGREE=1", "-Wall", "-Wno-psabi", f"-I{ROOT / 'csrc'}"]
    parts = [(ROOT / "csrc" / "cpu" / f"convolution_{name}.cpp", flags) for name, flags in sets.items()]
    parts.append((Path(__file__).with_name("host_convolution.cpp"), []))
    objects = [str(tmp_path / f"{source.stem}.o") for source, _ in parts]
    for (source, flags), target in zip(parts, objects, strict=True):
        subprocess.run([*common, *flags, "-c", str(source), "-o", target], check=True)
    subprocess.run([*common, *objects, "-o", str(tmp_path / "host")], check=True)
    done = subprocess.run([str(tmp_path / "host")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
