"""What was asked for, beside what the result files say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.side_by_side.driver import ONE_THREAD, OURS

Result = dict[str, Any]
#: symmetrix is not published on PyPI. On another machine it took 671 ms for the water box in float64 with one thread,
#: where mace-torch took 6048 ms; so three times its speed is three times this ratio to mace-torch.
SYMMETRIX_OVER_MACE = 6048 / 671


@dataclass(frozen=True)
class Target:
    """One figure to reach.

    Attributes:
        problem: In words.
        peer: Who is compared.
        quantity: In words.
        wanted: The figure.
        largest: Whether it must be at most that, and not at least.
        unit: Printed behind both figures.
        measured: The figure, or ``None`` where it is not there.
    """

    problem: str
    peer: str
    quantity: str
    wanted: float
    largest: bool
    unit: str
    measured: float | None

    @property
    def reached(self) -> bool | None:
        """Whether it is reached; ``None`` if it was not measured."""
        if self.measured is None:
            return None
        return self.measured <= self.wanted if self.largest else self.measured >= self.wanted


def rows_of(result: Result | None, problem: str, **wanted: Any) -> list[dict[str, Any]]:
    """Return the rows of a problem that have these values."""
    rows = (result or {}).get("problems", {}).get(problem, {}).get("rows", [])
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def median(row: dict[str, Any], side: str) -> float | None:
    """Return the median in ms by the row's clock, or ``None``."""
    figures = row["sides"].get(side, {}).get(f"{row['clock']}_ms")
    return None if figures is None else figures["median"]


def _figure(rows: list[dict[str, Any]], pick: Callable[[dict[str, Any]], float | None]) -> float | None:
    found = [value for row in rows if (value := pick(row)) is not None]
    return found[0] if found else None


def _ratio(result: Result | None, problem: str, task: str, peer: str, threads: int = 1) -> float | None:
    rows = rows_of(result, problem, task=task, threads=threads)
    return _figure(rows, lambda row: row["sides"].get(peer, {}).get("ratio"))


def _best(values: Iterator[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _threads(result: Result | None, problem: str, task: str) -> float | None:
    rows = rows_of(result, "threads", label=problem, task=task, threads=2)
    return _figure(rows, lambda row: row["sides"].get(ONE_THREAD, {}).get("ratio"))


def _of_limits(result: Result | None, row: dict[str, Any]) -> float | None:
    """Return the larger share of memory and multiply-adds; more than 1 where arrays come out of the cache."""
    limit = row.get("roofline")
    if result is None or limit is None:
        return None
    machine = result["machine"][str(row["threads"])]
    return max(limit["gbs"] / machine["gbs"], limit["gflops"] / machine["gflops"])


def _speedups(kernels: Result | None) -> Iterator[Target]:
    names = {"forward": "forward", "forward_backward": "forward + backward", "double_backward": "double backward"}
    wanted = {
        ("conv_128_l2", "convolution 128×(0e+1o+2e) ⊗ 0..3", "e3nn"): (40, 30, 25),
        ("conv_64_l2", "convolution 64×(0e+1o+2e) ⊗ 0..2", "e3nn"): (20, 20, 20),
        ("sh_l3", "spherical harmonics l ≤ 3", "sphericart"): (0.95, 4, 15),
        ("sh_l6", "spherical harmonics l ≤ 6", "sphericart"): (1.5, 4, 15),
        ("contraction_l0", "symmetric contraction to 0e", "mace-torch"): (40, 30, 20),
        ("contraction_l01", "symmetric contraction to 0e+1o", "mace-torch"): (40, 30, 20),
    }
    for (problem, words, peer), figures in wanted.items():
        for (task, name), figure in zip(names.items(), figures, strict=True):
            yield Target(words, peer, name, figure, False, "×", _ratio(kernels, problem, task, peer))
        if problem.startswith("conv"):
            for task in ("forward", "backward"):
                rows = rows_of(kernels, "roofline", label=problem, task=task, threads=1)
                reached = _figure(rows, lambda row: _of_limits(kernels, row))
                percent = None if reached is None else 100 * reached
                yield Target(words, "memory or multiply-adds", task, 50, False, " %", percent)


def _gaunt(kernels: Result | None) -> Iterator[Target]:
    for lmax, wanted in ((4, 15), (8, 50)):
        for task, name in (("forward", "forward"), ("forward_backward", "forward + backward")):
            ratio = _ratio(kernels, f"gaunt_l{lmax}", task, "e3nn", threads=2)
            yield Target(f"Gaunt product, l ≤ {lmax}", "e3nn", f"{name}, two threads", wanted, False, "×", ratio)


def _models(model: Result | None) -> Iterator[Target]:
    words, peer = "energy + forces, water", "mace-torch"
    exact = _best(_ratio(model, "water_fp32", task, peer) for task in ("energy_forces", "inference"))
    yield Target(words, peer, "fp32, exact radial network", 20, False, "×", exact)
    table = _ratio(model, "water_fp32", "inference_tabulated", peer)
    yield Target(words, peer, "fp32, tabulated radials", 30, False, "×", table)
    rows = rows_of(model, "water_fp64", task="inference_tabulated")
    error = _figure(rows, lambda row: row["sides"].get(OURS, {}).get("errors", {}).get("forces"))
    yield Target(words, "float64 exact", "the table's force error", 1e-6, True, "", error)
    double = _best(
        _ratio(model, "water_fp64", task, peer) for task in ("energy_forces", "inference", "inference_tabulated")
    )
    yield Target(words, "mace-torch", "fp64, 3 × symmetrix", 3 * SYMMETRIX_OVER_MACE, False, "×", double)
    rows = rows_of(model, "memory", dtype="float32")
    peaks = [value for row in rows if (value := row["memory"].get(OURS, {}).get("peak_mb"))]
    yield Target(words, "", "largest resident size, fp32", 700, True, " MB", max(peaks, default=None))
    yield Target(
        "training step", peer, "acetylacetones", 8, False, "×", _ratio(model, "training", "training_step", peer)
    )


def _others(kernels: Result | None, model: Result | None) -> Iterator[Target]:
    for problem, words in (
        ("conv_128_l2", "convolution 128×(0e+1o+2e) ⊗ 0..3"),
        ("conv_64_l2", "convolution 64×(0e+1o+2e) ⊗ 0..2"),
    ):
        for task, name in (
            ("forward", "forward"),
            ("forward_backward", "forward + backward"),
            ("double_backward", "double backward"),
        ):
            gain = _threads(kernels, problem, task)
            yield Target(words, "one thread", f"two threads, {name}", 1.8, False, "×", gain)
    for task, name in (
        ("energy_forces", "by autograd"),
        ("inference", "exact radials"),
        ("inference_tabulated", "tabulated radials"),
    ):
        gain = _threads(model, "water_fp32", task)
        yield Target("energy + forces, water", "one thread", f"two threads, {name}", 1.8, False, "×", gain)
    rows = rows_of(kernels, "imports", label=OURS)
    yield Target(
        "import equitools", "torch", "time beyond torch's", 0.3, True, " s", _figure(rows, lambda row: row["seconds"])
    )


def _gpu(kernels: Result | None, model: Result | None) -> Iterator[Target]:
    words = "convolution, 160 000 edges, on an H200"
    for task, name, wanted in (
        ("forward", "forward", 0.8),
        ("backward", "backward", 1.8),
        ("double_backward", "double backward", 3.0),
    ):
        rows = [row for row in rows_of(kernels, "conv_gpu", task=task) if "label" not in row]
        yield Target(words, "", name, wanted, True, " ms", _figure(rows, lambda row: median(row, OURS)))
    rows = [row for task in ("inference", "energy_forces") for row in rows_of(model, "water_gpu", task=task)]
    found = _figure(rows, lambda row: None if (ms := median(row, OURS)) is None else 1e3 * ms / row["case"]["atoms"])
    yield Target("energy + forces, 5 184 atoms, on an H200", "", "time of an atom", 2.5, True, " µs", found)


def targets(kernels: Result | None, model: Result | None) -> list[Target]:
    """Return all targets that a CPU is asked for.

    Args:
        kernels: ``result`` of `kernels.json`.
        model: ``result`` of `model_step.json`.
    """
    return [*_speedups(kernels), *_gaunt(kernels), *_models(model), *_others(kernels, model)]


def gpu_targets(kernels: Result | None, model: Result | None) -> list[Target]:
    """Return all targets of a GPU, from the result files of a run there."""
    return list(_gpu(kernels, model))
