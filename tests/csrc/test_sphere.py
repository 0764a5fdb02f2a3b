"""The kernels of products on the sphere without torch, under sanitizers, beside numpy."""

from __future__ import annotations

import math
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from equitools.ops import sphere_tables

ROOT = Path(__file__).parents[2]
FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma"],
}
#: degrees, curl, rows, channels of x and of y
CASES = [
    ((0, 0, 0), False, 5, 3, 3),
    ((1, 1, 1), False, 1, 16, 16),
    ((1, 1, 1), True, 2, 17, 17),
    ((3, 4, 5), False, 3, 8, 8),
    ((3, 4, 5), True, 3, 5, 1),
    ((2, 5, 3), False, 7, 1, 4),
    ((2, 0, 2), False, 33, 1, 1),
    ((6, 1, 7), True, 2, 20, 20),
    ((8, 8, 8), False, 1, 33, 33),
    ((9, 8, 2), True, 1, 16, 16),
]
#: degree, degree of the result, powers, other functions, rows, channels
POWERS = [
    (0, 0, 1, 0, 3, 2),
    (1, 1, 3, 0, 2, 16),
    (2, 1, 4, 0, 3, 17),
    (3, 2, 3, 1, 2, 8),
    (2, 3, 4, 2, 5, 5),
    (4, 1, 2, 3, 1, 33),  # more other functions than factors: zero
    (1, 0, 5, 4, 2, 3),
]


def _powers(shape: tuple[int, ...], x: np.ndarray, others: np.ndarray, g: np.ndarray | None) -> np.ndarray:
    """Return the powers, or what is pulled back, by dense sums over the grid."""
    lmax, wanted, powers, _ = shape
    degree = powers * lmax + wanted
    values, *beside = (np.einsum("pk,nkc->npc", sphere_tables.synthesis(lmax, degree)[0], t) for t in (x, *others))
    beside = math.prod(beside, start=np.ones_like(values))
    order = len(others) + (g is not None)
    factors = [math.perm(v, order) * values ** max(v - order, 0) * beside for v in range(1, powers + 1)]
    if g is None:
        return np.stack([np.einsum("kp,npc->nkc", sphere_tables.analysis(wanted, degree), f) for f in factors], 1)
    of_g = np.einsum("pk,nvkc->vnpc", sphere_tables.synthesis(wanted, degree)[0], g)
    pulled = sum(f * h for f, h in zip(factors, of_g, strict=True))
    return np.einsum("kp,npc->nkc", sphere_tables.analysis(lmax, degree), pulled)


def _write(path: Path) -> None:
    """Write the cases as tests/csrc/host_sphere.cpp reads them."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for degrees, curl, rows, c1, c2 in CASES:
            l1, l2, _ = degrees
            channels = max(c1, c2)
            x, y = (rng.standard_normal((rows, (l + 1) ** 2, c)) for l, c in ((l1, c1), (l2, c2)))
            x, y = (t.astype(np.float32).astype(np.float64) for t in (x, y))  # what both precisions hold exactly
            wide = [np.broadcast_to(t, (*t.shape[:2], channels)) for t in (x, y)]
            out = np.einsum("abk,nac,nbc->nkc", sphere_tables.dense(*degrees, curl), *wide, optimize=True)
            arrays = [sphere_tables.kernel_table(*degrees, curl), x, y, np.empty(0), out]
            one = [float(c == 1 and channels > 1) for c in (c1, c2)]
            head = [0, *degrees, float(curl), rows * channels, channels, *one, *(array.size for array in arrays)]
            for array in (np.array(head), *arrays):
                file.write(np.ascontiguousarray(array, dtype=np.float64).tobytes())
        for lmax, wanted, powers, order, rows, channels in POWERS:
            shape, components = (lmax, wanted, powers, order), (lmax + 1) ** 2
            drawn = (rng.standard_normal((n, rows, components, channels)) for n in (1, order))
            x, others = (t.astype(np.float32).astype(np.float64) for t in drawn)
            g = rng.standard_normal((rows, powers, (wanted + 1) ** 2, channels)).astype(np.float32).astype(np.float64)
            table = sphere_tables.kernel_table(lmax, wanted, 0, False, powers * lmax + wanted)
            for kind, weights in ((1, None), (2, g)):
                out = _powers(shape, x[0], others, weights)
                arrays = [table, x, others, np.empty(0) if weights is None else g, out]
                head = [kind, *shape, rows * channels, channels, 0, 0, *(array.size for array in arrays)]
                for array in (np.array(head), *arrays):
                    file.write(np.ascontiguousarray(array, dtype=np.float64).tobytes())


def _sets() -> dict[str, list[str]]:
    return FLAGS if platform.machine().lower() in {"x86_64", "amd64"} else {"baseline": []}


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_kernels_under_sanitizers(tmp_path):
    common = ["g++", "-std=c++20", "-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    common += ["-Wall", "-Wno-psabi", f"-I{ROOT / 'csrc'}"]
    objects = []
    for name, flags in _sets().items():
        objects.append(str(tmp_path / f"{name}.o"))
        source = ROOT / "csrc" / "cpu" / f"sphere_{name}.cpp"
        subprocess.run([*common, *flags, "-c", str(source), "-o", objects[-1]], check=True)
    program = str(tmp_path / "host")
    subprocess.run([*common, str(Path(__file__).with_name("host_sphere.cpp")), *objects, "-o", program], check=True)
    _write(tmp_path / "cases")
    done = subprocess.run([program, str(tmp_path / "cases")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("g++") is None or shutil.which("nm") is None, reason="no g++ or nm")
@pytest.mark.parametrize("name", [name for name in _sets() if name != "baseline"])
def test_nothing_of_an_instruction_set_is_shared(name, tmp_path):
    """The linker keeps one copy of what several objects define: that one could need what a processor does not have."""
    target = str(tmp_path / "kernels.o")
    source = ROOT / "csrc" / "cpu" / f"sphere_{name}.cpp"
    subprocess.run(["g++", "-std=c++20", "-O2", *FLAGS[name], "-c", str(source), "-o", target], check=True)
    symbols = subprocess.run(["nm", "-C", "--defined-only", target], capture_output=True, text=True, check=True)
    weak = [line for line in symbols.stdout.splitlines() if line[17:18] in {"V", "W", "u"}]
    assert [line for line in weak if f"{name}::" not in line] == []
