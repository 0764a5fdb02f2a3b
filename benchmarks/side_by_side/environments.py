"""One environment for each peer, because their pins exclude each other.

An environment lives in ``.bench/NAME`` of the checkout. It holds the peer itself and what only the peer needs; torch,
numpy and the rest are borrowed from the environment that runs the benchmark, by a ``.pth`` file. So every side computes
with the same torch, and no second one is downloaded.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from benchmarks._results import ROOT

FOLDER = ROOT / ".bench"


@dataclass(frozen=True)
class Environment:
    """What is installed, without dependencies, and what must then be importable.

    Attributes:
        requirements: For ``pip install --no-deps``.
        check: Statement that runs if the environment is complete.
        cuda: Further requirements on a GPU.
    """

    requirements: tuple[str, ...]
    check: str
    cuda: tuple[str, ...] = ()


_E3NN_04 = "import torch\nwith torch.serialization.safe_globals([slice]):\n    import e3nn.o3\n"
ENVIRONMENTS = {
    "sphericart": Environment(("sphericart-torch==2.0.4",), "import sphericart.torch"),
    "cuequivariance": Environment(
        ("cuequivariance==0.13.0", "cuequivariance-torch==0.13.0"),
        "import cuequivariance_torch",
        ("cuequivariance-ops-cu13", "cuequivariance-ops-torch-cu13"),
    ),
    "mace": Environment(
        (
            "mace-torch==0.3.16", "e3nn==0.4.4", "torch-ema", "prettytable", "wcwidth", "matscipy", "configargparse",
            "GitPython", "gitdb", "smmap", "lmdb", "orjson", "python-hostlist", "pandas", "python-dateutil", "six",
            "opt_einsum", "opt_einsum_fx", "h5py", "torchmetrics", "lightning-utilities", "tqdm",
        ),
        _E3NN_04 + "from mace.modules import MACE",
    ),
    "openequivariance": Environment(("openequivariance", "jinja2", "nanobind"), "import openequivariance"),
}  # fmt: skip


def _purelib(python: Path) -> Path:
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def _works(python: Path, environment: Environment) -> str:
    """Return why the environment cannot be used; empty if it can."""
    done = subprocess.run([str(python), "-c", environment.check], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def find(name: str, install: bool = True, device: str = "cpu") -> tuple[Path | None, str]:
    """Return the interpreter of an environment, or why there is none.

    Args:
        name: A key of `ENVIRONMENTS`; ``""`` is the environment that runs this.
        install: Whether to make it where it is absent.
        device: ``"cuda"`` adds the CUDA kernels that are published apart.

    Returns:
        The interpreter and an empty string, or ``None`` and the reason.
    """
    if not name:
        return Path(sys.executable), ""
    environment, folder = ENVIRONMENTS[name], FOLDER / name
    wanted = " ".join((*environment.requirements, *(environment.cuda if device == "cuda" else ())))
    python, record = folder / "bin" / "python", folder / "complete.txt"
    if python.exists() and record.exists() and record.read_text(encoding="utf-8") == wanted:
        return python, ""
    if not install:
        return None, "not installed (without --no-install its environment is made)"
    print(f"making the environment of {name} in {folder.relative_to(ROOT)} …", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, text=True)
        borrowed = _purelib(python) / "borrowed.pth"
        borrowed.write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
        pip = [
            str(python),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--retries",
            "1",
            "install",
            "--quiet",
            "--no-deps",
        ]
        # Not what the lender has already: pip sees borrowed packages as installed and leaves them alone.
        subprocess.run([*pip, *wanted.split()], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        return None, f"not installable: {(error.stderr.strip().splitlines() or ['pip gave no reason'])[-1]}"
    obstacle = _works(python, environment)
    if obstacle:
        return None, f"installed, but it does not work: {obstacle}"
    record.write_text(wanted, encoding="utf-8")
    return python, ""
