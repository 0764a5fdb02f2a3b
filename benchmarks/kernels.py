"""Operations beside their peers, on the same inputs and threads, in turns; errors against float64; the roofline.

    python benchmarks/kernels.py                          # everything, 1 and 2 threads; the machine should be idle
    python benchmarks/kernels.py --quick                  # does it run? (2 minutes)
    python benchmarks/kernels.py --only sh_l3 --threads 1

Writes `benchmarks/results/kernels.json` (`kernels_cuda.json` with `--device cuda`) after every row; Ctrl-C keeps what
was measured. Peers whose requirements exclude each other have environments of their own in `.bench`, made when they are
first needed; a peer that cannot be installed is a row that says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.side_by_side import counts, machine
from benchmarks.side_by_side.driver import ONE_THREAD, OURS, WorkerError
from benchmarks.side_by_side.session import Problems, Run, Session, arguments
from equitools.ops import sphere_tables

TASKS = ("forward", "forward_backward", "double_backward")
CONVOLUTION_TASKS = (*TASKS, "double_backward_both")
RADIAL_PEERS = ("equitools unfused", "e3nn", "cuequivariance")
CONVOLUTION_PEERS = ("e3nn", "e3nn compiled", "cuequivariance", "openequivariance")


def natural(channels: int | str, lmax: int) -> str:
    """Return channels × (0e + 1o + 2e + …)."""
    return "+".join(f"{channels}x{degree}{'eo'[degree % 2]}" for degree in range(lmax + 1))


def _couplings(run: Run, case: dict[str, Any]) -> dict[str, Any]:
    """Add the file of coupling tensors that makes cuequivariance compute e3nn's numbers."""
    file = run.team.scratch / "couplings.npz"
    np.savez(file, **counts.couplings(case))
    return {**case, "file": str(file)}


def _against_roofline(run: Run, wanted: dict[str, dict[str, float]]) -> Callable[[dict[str, Any]], None]:
    """Return what adds rates and the reached fraction of the machine's limit to a row of ours."""

    def finish(row: dict[str, Any]) -> None:
        figures = row["sides"].get(OURS, {})
        if row["task"] in wanted and "wall_ms" in figures and run.session.options.device == "cpu":
            median = figures[f"{row['clock']}_ms"]["median"]
            row["roofline"] = counts.against_roofline(wanted[row["task"]], median, run.roofline())

    return finish


def _convolution(
    run: Run, lmax_in: int, lmax_edge: int, channels: int, edges: int, *, tasks: tuple[str, ...] = CONVOLUTION_TASKS,
    peers: tuple[str, ...] = CONVOLUTION_PEERS, kind: str = "conv", neighbours: int = 16, **more: Any,
) -> None:  # fmt: skip
    case: dict[str, Any] = {
        "kind": kind, "irreps_in": natural(channels, lmax_in), "irreps_edge": natural(1, lmax_edge),
        "irreps_out": natural(1, lmax_edge), "nodes": max(1, edges // neighbours), "edges": edges, "seed": 0,
    }  # fmt: skip
    if kind == "radial":
        case["hidden"] = 64
    case = counts.complete(case)

    finish = _against_roofline(run, counts.floor_counts(case))
    if run.session.options.device == "cpu":
        peers = tuple(peer for peer in peers if peer != "openequivariance")  # it has no kernels for a CPU
    if run.quick:
        peers = tuple(peer for peer in peers if peer != "e3nn compiled")  # compiling alone takes a minute
    run.compare(_couplings(run, case), tasks, run.sides(*peers), finish=finish, **more)
    if tasks == CONVOLUTION_TASKS:
        run.compare(_couplings(run, case), ("backward",), [OURS], finish=finish, exact={}, **more)


def conv_128_l2(run: Run) -> None:
    """The convolution of a large network."""
    _convolution(run, 2, 3, 16 if run.quick else 128, 400 if run.quick else 4000)


def conv_64_l2(run: Run) -> None:
    """The convolution of a smaller one."""
    _convolution(run, 2, 2, 16 if run.quick else 64, 400 if run.quick else 4000)


def radial_128_l2(run: Run) -> None:
    """The same with the last layer of the radial network."""
    _convolution(run, 2, 3, 16 if run.quick else 128, 400 if run.quick else 4000, kind="radial", peers=RADIAL_PEERS)


def radial_64_l2(run: Run) -> None:
    """The same with the last layer of the radial network."""
    _convolution(run, 2, 2, 16 if run.quick else 64, 400 if run.quick else 4000, kind="radial", peers=RADIAL_PEERS)


def roofline(run: Run) -> None:
    """Ours alone, with an allocator that keeps freed memory: the kernels, and not the system that clears new pages."""
    with run.keeping_memory() as kept:
        for name, lmax_edge, channels in (("conv_128_l2", 3, 128), ("conv_64_l2", 2, 64)):
            for kind in ("conv", "radial"):
                label = name if kind == "conv" else name.replace("conv", "radial")
                _convolution(
                    kept, 2, lmax_edge, 16 if run.quick else channels, 400 if run.quick else 4000, kind=kind, peers=(),
                    tasks=("forward", "backward"), label=label,
                )  # fmt: skip


def threads(run: Run) -> None:
    """All threads and one in turns, with the usual allocator and with one that keeps freed memory."""
    if run.team.threads == 1 or run.session.options.device != "cpu":
        return
    for name, lmax_edge, channels in (("conv_128_l2", 3, 128), ("conv_64_l2", 2, 64)):
        shape = (2, lmax_edge, 16 if run.quick else channels, 400 if run.quick else 4000)
        for keep in (False, True):
            label = f"{name}, kept memory" if keep else name
            run.in_fresh_processes(
                lambda fresh, shape=shape, label=label: _convolution(
                    fresh, *shape, peers=(ONE_THREAD,), tasks=TASKS, label=label
                ),
                keep,
            )


def _harmonics(run: Run, lmax: int) -> None:
    case = {"kind": "sh", "lmax": lmax, "vectors": 1000 if run.quick else 50_000, "seed": 0}

    run.compare(
        case, TASKS, run.sides("sphericart", "e3nn"), finish=_against_roofline(run, counts.harmonics_counts(case))
    )


def sh_l3(run: Run) -> None:
    """Spherical harmonics."""
    _harmonics(run, 3)


def sh_l6(run: Run) -> None:
    """Spherical harmonics of higher degree."""
    _harmonics(run, 6)


def _contraction(run: Run, irreps_out: str) -> None:
    """Compare with the weights of the peer, translated to our basis."""
    case: dict[str, Any] = {
        "kind": "contraction", "irreps_in": natural(1, 3), "irreps_out": irreps_out, "correlation": 3, "species": 3,
        "nodes": 30 if run.quick else 500, "channels": 8 if run.quick else 128, "seed": 0,
    }  # fmt: skip
    file = run.team.scratch / "contraction.npz"
    np.savez(file, **_contraction_weights(run, case))
    run.compare(
        {**case, "file": str(file)},
        ("forward", "forward_backward_x", "forward_backward", "double_backward"),
        run.sides("mace-torch"),
    )


def _contraction_weights(run: Run, case: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return random weights of the peer (``theirs``), the same in our basis (``ours``), and the map between them."""
    rng = np.random.default_rng(case["seed"])
    shared = {key: case[key] for key in ("irreps_in", "irreps_out", "correlation")}
    bases: dict[str, dict[str, np.ndarray]] = {}
    for side in run.team.ensure(run.sides("mace-torch")):
        file = run.team.scratch / f"basis_{side}.npz"
        try:
            run.team.clients[side].do(
                "call", function="contraction_basis", arguments={**shared, "seed": 1, "points": 60, "file": str(file)}
            )
        except WorkerError as error:
            run.team.absent[side] = str(error)
            continue
        with np.load(file) as stored:
            bases[side] = {name: stored[name] for name in stored.files}
    ours, theirs = bases[OURS], bases.get("mace-torch", bases[OURS])
    arrays = {}
    for k in range(len(ours)):
        change, *_ = np.linalg.lstsq(ours[f"weight{k}"], theirs[f"weight{k}"], rcond=None)
        paths = theirs[f"weight{k}"].shape[1]
        weights = rng.standard_normal((case["species"], paths, case["channels"])) / max(paths, 1)
        arrays[f"theirs{k}"] = weights
        arrays[f"ours{k}"] = np.einsum("qp,spc->sqc", change, weights)
        arrays[f"change{k}"] = change
    return arrays


def contraction_l0(run: Run) -> None:
    """Many-body products to scalars."""
    _contraction(run, "0e")


def contraction_l01(run: Run) -> None:
    """Many-body products to scalars and vectors."""
    _contraction(run, "0e+1o")


def _gaunt(run: Run, lmax: int, *peers: str) -> None:
    """Compare with e3nn's product of the same numbers: a path for each triple of degrees whose sum is even."""
    paths = [
        (i, j, k)
        for i in range(lmax + 1)
        for j in range(lmax + 1)
        for k in range(abs(i - j), min(i + j, lmax) + 1)
        if (i + j + k) % 2 == 0
    ]
    file = run.team.scratch / f"gaunt{lmax}.npz"
    factors = [sphere_tables.reduced(*path) for path in paths]
    np.savez(file, paths=np.array(paths), factors=np.array(factors))
    case = {
        "kind": "gaunt", "irreps": natural(4 if run.quick else 128, lmax), "lmax": lmax, "file": str(file), "seed": 0,
        "rows": 20 if run.quick else 1000,
    }  # fmt: skip
    run.compare(case, TASKS, run.sides("e3nn", *peers))


def gaunt_l4(run: Run) -> None:
    """Gaunt products of degree 4."""
    _gaunt(run, 4, *(() if run.quick else ("e3nn compiled",)))  # compiling alone takes minutes


def gaunt_l8(run: Run) -> None:
    """Gaunt products of degree 8."""
    _gaunt(run, 8)


SCALING = ("forward", "forward_backward")


def _scaling_peers(run: Run) -> tuple[str, ...]:
    return ("e3nn",) if run.quick else ("e3nn", "cuequivariance", "openequivariance")


def scaling_edges(run: Run) -> None:
    """64×(0e+1o+2e) ⊗ 0..2 from 10² to 10⁶ edges."""
    if run.first:
        for edges in (100,) if run.quick else (100, 1000, 10_000, 100_000, 1_000_000):
            peers = _scaling_peers(run) if edges < 1_000_000 else ("e3nn",)
            _convolution(run, 2, 2, 8 if run.quick else 64, edges, tasks=SCALING, peers=peers, label=f"{edges} edges")


def scaling_channels(run: Run) -> None:
    """16 to 256 channels, 4 000 edges."""
    if run.first:
        for channels in (16, 32) if run.quick else (16, 32, 64, 128, 256):
            _convolution(
                run, 2, 2, channels, 200 if run.quick else 4000, tasks=SCALING, peers=_scaling_peers(run),
                label=f"{channels} channels",
            )  # fmt: skip


def scaling_degree(run: Run) -> None:
    """32×(0..l) ⊗ 0..l for l = 1 … 6, 1 000 edges."""
    if run.first:
        for degree in (1, 2) if run.quick else (1, 2, 3, 4, 5, 6):
            _convolution(
                run, degree, degree, 8 if run.quick else 32, 100 if run.quick else 1000, tasks=SCALING,
                peers=_scaling_peers(run), label=f"l ≤ {degree}",
            )  # fmt: skip


def conv_gpu(run: Run) -> None:
    """160 000 edges, 53 a node, on a GPU."""
    if run.session.options.device == "cuda":
        _convolution(run, 2, 3, 128, 160_000, neighbours=53)
        _convolution(
            run, 2, 3, 128, 160_000, neighbours=53, kind="radial", peers=RADIAL_PEERS, label="radial layer fused"
        )


def imports(run: Run) -> None:
    """Import time beyond torch's own."""
    if run.first:
        statements = {
            OURS: "import equitools",
            "equitools with layers and networks": "import equitools.nn, equitools.models",
            "equitools with its ASE calculator": "import equitools.integrations.ase",
            "e3nn": "import e3nn.o3",
        }
        for label, statement in list(statements.items())[: 1 if run.quick else None]:
            seconds = machine.import_seconds(statement, 1 if run.quick else 7)
            run.session.add(run.problem, {"label": label, "statement": statement, "seconds": seconds})


PROBLEMS: Problems = {
    "conv_128_l2": (conv_128_l2, "convolution 128×(0e+1o+2e) ⊗ 0..3, 4 000 edges, 250 nodes"),
    "conv_64_l2": (conv_64_l2, "convolution 64×(0e+1o+2e) ⊗ 0..2"),
    "radial_128_l2": (radial_128_l2, "the first with the radial network's last layer fused in"),
    "radial_64_l2": (radial_64_l2, "the second with the radial network's last layer fused in"),
    "roofline": (roofline, "how much of the machine's limits the convolutions reach"),
    "threads": (threads, "the convolutions on all threads and on one, in turns"),
    "sh_l3": (sh_l3, "spherical harmonics l ≤ 3 of 50 000 vectors"),
    "sh_l6": (sh_l6, "spherical harmonics l ≤ 6"),
    "contraction_l0": (contraction_l0, "symmetric contraction, 500 nodes, 128 channels, correlation 3, to 0e"),
    "contraction_l01": (contraction_l01, "the same to 0e+1o"),
    "gaunt_l4": (gaunt_l4, "Gaunt product, l ≤ 4, 128 channels, 1 000 rows"),
    "gaunt_l8": (gaunt_l8, "Gaunt product, l ≤ 8"),
    "imports": (imports, "import time beyond torch's own"),
    "scaling_edges": (scaling_edges, "convolution over 10² … 10⁶ edges"),
    "scaling_channels": (scaling_channels, "over 16 … 256 channels"),
    "scaling_degree": (scaling_degree, "over l = 1 … 6"),
    "conv_gpu": (conv_gpu, "160 000 edges (with --device cuda)"),
}
#: Like others that a quick run has.
NOT_QUICK = (
    *("conv_64_l2", "roofline", "threads", "radial_64_l2", "sh_l6", "contraction_l01"),
    *("scaling_channels", "scaling_degree", "gaunt_l8"),
)


if __name__ == "__main__":
    sys.exit(Session("kernels", arguments(__doc__ or "", PROBLEMS)).run(PROBLEMS, NOT_QUICK))
