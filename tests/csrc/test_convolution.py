"""The convolution's kernels without torch: the pattern they are unrolled by, and a host program under sanitizers."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import coupling_pattern
import pytest

from equitools.groups import clebsch_gordan

ROOT = Path(__file__).parents[2]
FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma"],
}


def test_pattern_is_that_of_the_coupling_tensors():
    assert coupling_pattern.HEADER.read_text(encoding="utf-8") == coupling_pattern.header()


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_components_are_those_of_the_coupling_tensors(tmp_path):
    """The selection rules name every component that is not zero, and none that the tensor does not have room for."""
    source = tmp_path / "components.cpp"
    source.write_text(
        '#include "core/coupling_components.h"\n#include <cstdio>\nusing equitools::component_of;\n'
        "int main() {\n  for (int a = 0; a < 5; ++a) for (int b = 0; b < 5; ++b) for (int c = 0; c < 5; ++c)\n"
        "    for (int m = 0; m <= 2 * a; ++m) for (int n = 0; n <= 2 * c; ++n)\n"
        '      std::printf("%d %d %d %d %d %d %d\\n", a, b, c, m, n, component_of(a, b, c, m, n, 0), '
        "component_of(a, b, c, m, n, 1));\n}\n",
        encoding="utf-8",
    )
    program = str(tmp_path / "components")
    subprocess.run(["g++", "-std=c++20", f"-I{ROOT / 'csrc'}", str(source), "-o", program], check=True)
    seen = 0
    for line in subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines():
        l1, l2, l3, m1, m3, *named = map(int, line.split())
        if not abs(l1 - l2) <= l3 <= l1 + l2:
            continue
        named = {m2 for m2 in named if m2 >= 0}
        coupled = (clebsch_gordan(l1, l2, l3)[m1, :, m3].abs() > coupling_pattern.NEGLIGIBLE).nonzero().flatten()
        assert named >= set(coupled.tolist())
        assert all(m2 <= 2 * l2 for m2 in named)
        seen += len(coupled)
    assert seen == 2052  # entries of all tensors of degrees 0 to 4 that are not zero


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
    for name, target in zip(sets, objects[: len(sets)], strict=True):
        # The linker keeps one copy of what several objects define: nothing of an instruction set may be such a thing.
        symbols = subprocess.run(["nm", "-C", "--defined-only", target], capture_output=True, text=True, check=True)
        weak = [line for line in symbols.stdout.splitlines() if line[17:18] in {"V", "W", "u"}]
        assert [line for line in weak if "equitools::" in line and f"{name}::" not in line] == []
    subprocess.run([*common, *objects, "-o", str(tmp_path / "host")], check=True)
    done = subprocess.run([str(tmp_path / "host")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
