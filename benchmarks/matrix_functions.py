"""Exponential, logarithm and polar decomposition of many small matrices beside torch's own: forward, and with gradient.

    python benchmarks/matrix_functions.py            # about 2 minutes; the machine should be idle
    python benchmarks/matrix_functions.py --quick    # does it run? Writes .bench/matrix_functions.json

Both sides take turns. The peers are what a user of torch writes: `torch.matrix_exp`; for the polar decomposition
`torch.linalg.svd`, k = U Vᵀ and p = U S Uᵀ; for the logarithm of general matrices `torch.linalg.eig`, the logarithm of
the eigenvalues, and the inverse of the eigenvectors. Errors are against float64: the exponential of the logarithm
against the matrix, p k against the matrix, kᵀ k against 1, and the exponential against `torch.matrix_exp` in float64.
Writes `benchmarks/results/matrix_functions.json`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import ROOT, command, save
from equitools.ops import matrix_exp, matrix_log, polar

TASKS = ("forward", "forward and gradient")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def log_by_eig(g: Tensor) -> Tensor:
    """Return the logarithm by the eigenvectors of a general matrix."""
    values, vectors = torch.linalg.eig(g)
    return (vectors * values.log().unsqueeze(-2) @ torch.linalg.inv(vectors)).real


def polar_by_svd(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return both factors by the singular value decomposition."""
    u, s, vh = torch.linalg.svd(g)
    return u * s.unsqueeze(-2) @ u.mT, u @ vh


FUNCTIONS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Tensor], Any], str]] = {
    "exponential": (matrix_exp, torch.matrix_exp, "torch.matrix_exp"),
    "logarithm": (matrix_log, log_by_eig, "torch.linalg.eig"),
    "polar decomposition": (polar, polar_by_svd, "torch.linalg.svd"),
}


def arguments(name: str, count: int, n: int, dtype: torch.dtype) -> Tensor:
    """Return what a function is applied to: matrices with normal entries of variance 1/4, or their exponentials."""
    x = 0.5 * torch.randn(count, n, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    return (x if name == "exponential" else torch.matrix_exp(x)).to(dtype)


def with_gradient(function: Callable[[Tensor], Any], a: Tensor) -> Callable[[], Tensor]:
    """Return a function that gives the gradient of a weighted sum of the results."""
    weights = [torch.randn(a.shape, generator=torch.Generator().manual_seed(k)).to(a) for k in (8, 9)]

    def gradient() -> Tensor:
        leaf = a.detach().requires_grad_()
        out = function(leaf)
        parts = list(out) if isinstance(out, tuple) else [out]
        torch.autograd.backward(parts, weights[: len(parts)])
        assert leaf.grad is not None  # noqa: S101 - the sum depends on it
        return leaf.grad

    return gradient


def error(name: str, function: Callable[[Tensor], Any], a: Tensor) -> float:
    """Return the median of the relative errors in the Frobenius norm, computed in float64."""
    out, wide = function(a), a.double()
    if name == "polar decomposition":
        p, k = (t.double() for t in out)
        one = torch.eye(a.shape[-1], dtype=torch.float64)
        rebuilt = (p @ k - wide).norm(dim=(-1, -2)) / wide.norm(dim=(-1, -2))
        errors = torch.maximum(rebuilt, (k.mT @ k - one).norm(dim=(-1, -2)))
    else:
        found, exact = (out.double(), wide.matrix_exp()) if name == "exponential" else (out.double().matrix_exp(), wide)
        errors = (found - exact).norm(dim=(-1, -2)) / exact.norm(dim=(-1, -2))
    return float(f"{float(errors.median()):.2g}")


def seconds(function: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Time both in turns, the first one four times a round."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        times[0].extend(seconds(first) for _ in range(4))
        times[1].append(seconds(second))
    mine, theirs = (1e3 * median(t) for t in times)
    return {"ms": round(mine, 3), "peer_ms": round(theirs, 3), "ratio": round(theirs / mine, 2)}


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="the result file")
    given = parser.parse_args()
    count, rounds = (300, 2) if given.quick else (given.count, given.rounds)
    quick_path = ROOT / ".bench" / "matrix_functions.json" if given.quick else None
    rows: list[dict[str, Any]] = []
    cases = itertools.product(given.threads, FUNCTIONS, given.sizes, DTYPES)
    for threads, name, n, dtype in cases:
        torch.set_num_threads(threads)
        ours, theirs, peer = FUNCTIONS[name]
        a = arguments(name, count, n, DTYPES[dtype])
        row = {"threads": threads, "function": name, "n": n, "dtype": dtype, "peer": peer}
        errors = {"error": error(name, ours, a), "peer_error": error(name, theirs, a)}
        for task in TASKS:
            if task == TASKS[0]:
                with torch.no_grad():
                    found = compare(lambda f=ours: f(a), lambda f=theirs: f(a), rounds)  # noqa: B023 - called at once
            else:
                found = compare(with_gradient(ours, a), with_gradient(theirs, a), rounds)
            rows.append({**row, "task": task, **found, **errors})
            print(f"{threads} threads, {name}, n = {n}, {dtype}, {task}: {found}", flush=True)
    torch.set_num_threads(max(given.threads))
    result = {"count": count, "rounds": rounds, "rows": rows}
    path = save("matrix_functions", command("matrix_functions.py"), result, given.output or quick_path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
