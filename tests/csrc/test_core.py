"""The torch-free kernels stand alone: a host program, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ISA_FLAGS = {
    "_avx2": ["-mavx2", "-mfma"],
    "_avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma"],
}
X86 = platform.machine().lower() in {"x86_64", "amd64"}


def sources():
    found = sorted((ROOT / "csrc" / "cpu").glob("*.cpp"))
    # the convolution has a host program of its own (test_convolution.py), and takes long to compile
    return [p for p in found if not p.stem.startswith("convolution") and (X86 or not isa_flags(p))]


def isa_flags(source):
    return next((flags for end, flags in ISA_FLAGS.items() if source.stem.endswith(end)), [])


def test_core_is_free_of_torch():
    for path in [*(ROOT / "csrc" / "core").iterdir(), *(ROOT / "csrc" / "cpu").iterdir()]:
        assert "torch/" not in path.read_text(), f"{path.name} includes torch"


def test_torch_is_reached_through_the_stable_abi_only():
    for path in (ROOT / "csrc" / "torch").iterdir():
        for line in path.read_text().splitlines():
            if line.startswith("#include <torch/"):
                assert line.startswith(("#include <torch/csrc/stable/", "#include <torch/headeronly/")), line


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_host_program_under_sanitizers(tmp_path):
    common = ["g++", "-std=c++20", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    common += ["-Wall", "-Wno-psabi", f"-I{ROOT / 'csrc'}"]
    objects = []
    for source in [*sources(), Path(__file__).with_name("host.cpp")]:
        objects.append(str(tmp_path / f"{source.stem}.o"))
        flags = isa_flags(source)
        subprocess.run([*common, *flags, "-c", str(source), "-o", objects[-1]], check=True)
    subprocess.run([*common, *objects, "-o", str(tmp_path / "host")], check=True)
    done = subprocess.run([str(tmp_path / "host")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
