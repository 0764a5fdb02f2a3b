"""The kernels of sparse products without torch, under sanitizers, beside numpy."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from equitools.ops import sparse_tables, sphere_tables

ROOT = Path(__file__).parents[2]
FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma"],
}
#: degrees, sums, rows, channels of x, y, z and the weights (0: no weights)
CASES = [
    ((0, 0, 0), 0, 5, (3, 3, 3, 0)),
    ((1, 1, 1), 0, 1, (16, 16, 16, 16)),
    ((1, 1, 1), 1, 2, (17, 17, 17, 1)),
    ((3, 4, 5), 0, 3, (8, 8, 8, 8)),
    ((3, 4, 5), 2, 3, (5, 1, 5, 5)),
    ((2, 5, 3), 0, 7, (1, 4, 4, 4)),
    ((2, 5, 3), 1, 7, (4, 4, 1, 0)),
    ((2, 0, 2), 0, 33, (1, 1, 1, 1)),
    ((6, 1, 7), 1, 2, (20, 20, 20, 20)),
    ((8, 8, 8), 0, 1, (33, 33, 33, 0)),
    ((9, 8, 2), 1, 1, (40, 40, 40, 40)),
    ((7, 7, 7), 2, 1, (2, 2, 2, 2)),
]


def _write(path: Path) -> None:
    """Write the cases as tests/csrc/host_sparse.cpp reads them."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for degrees, sums, rows, widths in CASES:
            channels = max(widths)
            given = [rng.standard_normal((rows, (l + 1) ** 2, c)) for l, c in zip(degrees, widths, strict=False)]
            paths = sparse_tables.paths(*degrees, sums)
            given.append(rng.standard_normal((len(paths), widths[3])))
            given = [t.astype(np.float32).astype(np.float64) for t in given]  # what both precisions hold exactly
            x, y, z = (np.broadcast_to(t, (*t.shape[:2], channels)) for t in given[:3])
            weight = np.broadcast_to(given[3], (len(paths), channels)) if widths[3] else np.ones((len(paths), channels))
            table = sum(sphere_tables.dense(*degrees, odd) for odd in (False, True) if sums in (int(odd), 2))
            out = np.zeros((rows, (degrees[2] + 1) ** 2, channels))
            gradient = np.zeros((len(paths), channels))
            for k, path_degrees in enumerate(paths):
                a, b, c = (slice(l * l, (l + 1) ** 2) for l in path_degrees)
                part = np.einsum("abk,nac,nbc->nkc", table[a, b, c], x[:, a], y[:, b], optimize=True)
                out[:, c] += weight[k] * part
                gradient[k] = (part * z[:, c]).sum((0, 1))
            arrays = [sparse_tables.kernel_table(*degrees, sums), *given, out, gradient]
            one = [float(c == 1 and channels > 1) for c in widths[:3]]
            kind = 0.0 if widths[3] == 0 else 1.0 if widths[3] == 1 and channels > 1 else 2.0
            head = [*degrees, float(sums), rows, channels, *one, kind, *(array.size for array in arrays)]
            for array in (np.array(head), *arrays):
                file.write(np.ascontiguousarray(array, dtype=np.float64).tobytes())


def _sets() -> dict[str, list[str]]:
    return FLAGS if platform.machine().lower() in {"x86_64", "amd64"} else {"baseline": []}


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_kernels_under_sanitizers(tmp_path):
    common = ["g++", "-std=c++20", "-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    common += ["-Wall", "-Wno-psabi", f"-I{ROOT / 'csrc'}"]
    objects = []
    for name, flags in _sets().items():
        objects.append(str(tmp_path / f"{name}.o"))
        source = ROOT / "csrc" / "cpu" / f"sparse_{name}.cpp"
        subprocess.run([*common, *flags, "-c", str(source), "-o", objects[-1]], check=True)
    program = str(tmp_path / "host")
    subprocess.run([*common, str(Path(__file__).with_name("host_sparse.cpp")), *objects, "-o", program], check=True)
    _write(tmp_path / "cases")
    done = subprocess.run([program, str(tmp_path / "cases")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("g++") is None or shutil.which("nm") is None, reason="no g++ or nm")
@pytest.mark.parametrize("name", [name for name in _sets() if name != "baseline"])
def test_nothing_of_an_instruction_set_is_shared(name, tmp_path):
    """The linker keeps one copy of what several objects define: that one could need what a processor does not have."""
    target = str(tmp_path / "kernels.o")
    source = ROOT / "csrc" / "cpu" / f"sparse_{name}.cpp"
    subprocess.run(["g++", "-std=c++20", "-O2", *FLAGS[name], "-c", str(source), "-o", target], check=True)
    symbols = subprocess.run(["nm", "-C", "--defined-only", target], capture_output=True, text=True, check=True)
    weak = [line for line in symbols.stdout.splitlines() if line[17:18] in {"V", "W", "u"}]
    assert [line for line in weak if f"{name}::" not in line] == []
