"""Which implementation runs an operation: the torch reference, the compiled CPU or CUDA kernels, or torch-scatter.

The choice is made at every call from what was asked for (`use_backend`, else the environment variable
``EQUITOOLS_BACKEND``, else ``auto``) and from the tensors. Parameters, ``state_dict`` and results do not depend on it.
Nothing is compiled here: the shared libraries are either there, and are loaded when `equitools.ops` is first imported
(the CUDA one only where torch sees a device), or `status` says why not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from equitools.errors import BackendError, nearest

__all__ = [
    "BACKENDS",
    "BUILD_COMMAND",
    "BackendFallbackWarning",
    "BackendStatus",
    "MatmulPrecisionWarning",
    "active_backend",
    "choose",
    "compiled_on",
    "cpu_capability",
    "extension_loaded",
    "requested_backend",
    "set_cuda_atomics",
    "status",
    "use_backend",
]

BACKENDS = ("auto", "reference", "cpu", "cuda", "torch_scatter")
#: The commands that add the compiled kernels: in a checkout, and to an installed package.
BUILD_COMMAND = "`make setup` in a checkout, or `pip install --no-build-isolation --force-reinstall --no-deps .`"
_COMPILED_DTYPES = (torch.float32, torch.float64)
#: The operations that have CUDA kernels; the radial convolution goes by the name of the other.
_CUDA_OPERATIONS = frozenset(
    {
        "eigh3",
        "matrix_exp",
        "matrix_log",
        "polar",
        "principal_axes",
        "segment_gather",
        "segment_max",
        "segment_softmax",
        "segment_sum",
        "signed_axes",
        "sparse_product",
        "sphere_product",
        "spherical_harmonics",
        "tensor_product_conv",
    }
)
_CAPABILITIES = ("baseline", "AVX2", "AVX-512")
_PACKAGE = Path(__file__).resolve().parent.parent

# A plain module variable, so that torch.compile can guard on it. It holds for all threads of the process.
_requested = ""
_reported: set[str] = set()


class BackendFallbackWarning(UserWarning):
    """The compiled kernels could not be used for a call, and the reference did the work. Given once a reason."""


class MatmulPrecisionWarning(UserWarning):
    """torch was told to round the factors of float32 matrix products; equivariance suffers. Given once."""


@dataclass(frozen=True)
class BackendStatus:
    """What `status` says about one backend.

    Attributes:
        name: ``reference``, ``cpu``, ``cuda`` or ``torch_scatter``.
        active: Whether it can be used here.
        reason: Why it is active or not.
        hint: What to do to get it; empty where nothing is to be done.
    """

    name: str
    active: bool
    reason: str
    hint: str = ""


@dataclass(frozen=True)
class _Extension:
    loaded: bool
    reason: str
    hint: str = ""


def _torch_version() -> tuple[int, int]:
    major, minor = torch.__version__.split("+")[0].split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def _build_record(entry: str = "reason") -> str:
    """Return what the build wrote about an extension that it did not make; empty if it wrote nothing."""
    record = _PACKAGE / "_build.json"
    if not record.is_file():
        return ""
    return str(json.loads(record.read_text(encoding="utf-8")).get(entry, ""))


def _load_extension() -> _Extension:
    library = _PACKAGE / "_C.abi3.so"
    if _torch_version() < (2, 10):
        return _Extension(False, f"torch {torch.__version__} < 2.10, which the kernels need", "install torch >= 2.10")
    if not library.is_file():
        recorded = _build_record()
        because = f" ({recorded})" if recorded else ""
        return _Extension(False, f"extension not built{because}", f"run {BUILD_COMMAND}")
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        return _Extension(False, f"the extension does not load: {error}", f"build it again: {BUILD_COMMAND}")
    return _Extension(True, "compiled kernels, float32 and float64")


def _load_cuda(extension: _Extension) -> _Extension:
    """Load the CUDA kernels, which implement on the device what the other library declares."""
    if torch.version.cuda is None:
        return _Extension(False, "no CUDA in this torch build")
    if not torch.cuda.is_available():
        return _Extension(False, "this torch build knows CUDA, but no device is visible")
    if not extension.loaded:
        return extension
    library = _PACKAGE / "_C_cuda.abi3.so"
    if not library.is_file():
        recorded = _build_record("cuda_reason")
        because = f" ({recorded})" if recorded else ""
        return _Extension(False, f"CUDA kernels not built{because}", f"with nvcc on the path, run {BUILD_COMMAND}")
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        return _Extension(False, f"the CUDA kernels do not load: {error}", f"build them again: {BUILD_COMMAND}")
    return _Extension(True, "compiled kernels, float32 and float64; other operations take the reference")


_extension = _load_extension()
_cuda = _load_cuda(_extension)
_cuda_atomics = os.environ.get("EQUITOOLS_CUDA_ATOMICS") == "1"


def extension_loaded() -> bool:
    """Return whether the compiled CPU kernels are loaded into this process."""
    return _extension.loaded


def cpu_capability() -> str:
    """Return the instruction set that the compiled kernels use here, or ``"none"`` without the extension."""
    return _CAPABILITIES[torch.ops.equitools.cpu_capability()] if _extension.loaded else "none"


def _check_name(name: str, source: str) -> str:
    if name not in BACKENDS:
        raise BackendError(f"{source} asks for the backend {name!r}. {nearest(name, BACKENDS)}")
    if name == "cpu" and not _extension.loaded:
        raise BackendError(
            f"{source} asks for the backend 'cpu', but it is not active: {_extension.reason}. To mend it: "
            f"{_extension.hint}; or choose 'reference' or 'auto'."
        )
    if name == "cuda" and not _cuda.loaded:
        mend = f"{_cuda.hint}; or " if _cuda.hint else ""
        raise BackendError(
            f"{source} asks for the backend 'cuda', but it is not active: {_cuda.reason}. To mend it: {mend}choose "
            "'reference' or 'auto'."
        )
    if name == "torch_scatter" and importlib.util.find_spec("torch_scatter") is None:
        raise BackendError(
            f"{source} asks for the backend 'torch_scatter', but torch-scatter is not installed. To mend it: "
            "`pip install --no-build-isolation 'equitools[scatter]'`; or choose another backend."
        )
    return name


def requested_backend() -> str:
    """Return the name that is asked for now: of the innermost `use_backend`, else ``EQUITOOLS_BACKEND``, else ``auto``.

    Raises:
        BackendError: The environment variable names an unknown backend or one that is not active here.
    """
    if _requested:
        return _requested
    name = os.environ.get("EQUITOOLS_BACKEND", "")
    return _check_name(name, "EQUITOOLS_BACKEND") if name else "auto"


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run the operations inside the ``with`` block on one backend, in all threads of the process.

    Args:
        name: ``"reference"`` (plain torch), ``"cpu"`` or ``"cuda"`` (the compiled kernels of that device; a call that
            they cannot do is an error), ``"torch_scatter"`` (segment operations by torch-scatter, the rest as
            ``"auto"``) or ``"auto"`` (the compiled kernels where they can do the call, else the reference).

    Raises:
        BackendError: The name is unknown, or that backend is not active here.
    """
    global _requested  # noqa: PLW0603 - the one piece of state, restored on leaving
    outer, _requested = _requested, _check_name(name, "use_backend")
    try:
        yield
    finally:
        _requested = outer


def set_cuda_atomics(enabled: bool) -> None:
    """Choose how the CUDA convolution adds up the gradients of the node features, for all threads of the process.

    By default the gradients of all edges are stored and added up in a fixed order: the same bits in every run. With
    atomic additions they need no memory of their own, and the last bits change from run to run. The environment
    variable ``EQUITOOLS_CUDA_ATOMICS=1`` chooses the latter at the start; ``torch.use_deterministic_algorithms(True)``
    overrules it.

    Args:
        enabled: Whether to add atomically.
    """
    global _cuda_atomics  # noqa: PLW0603 - the setting itself
    _cuda_atomics = enabled
    _follow_determinism()


def _follow_determinism() -> None:
    """Tell the CUDA kernels, which cannot ask torch, whether they may add atomically."""
    if _cuda.loaded and not torch.compiler.is_compiling():
        torch.ops.equitools.cuda_atomics(int(_cuda_atomics and not torch.are_deterministic_algorithms_enabled()))


def _obstacle(tensor: torch.Tensor, operation: str = "") -> str:
    """Return why the compiled kernels cannot take ``tensor`` (of ``operation``); empty if they can."""
    device = tensor.device.type
    if device not in {"cpu", "cuda"}:
        return f"there are no compiled kernels for tensors on {device}"
    library = _extension if device == "cpu" else _cuda
    if not library.loaded:
        return f"{library.reason}; to mend it: {library.hint}" if library.hint else library.reason
    if device == "cuda" and operation and operation not in _CUDA_OPERATIONS:
        return f"{operation} has no compiled CUDA kernels yet"
    if tensor.dtype not in _COMPILED_DTYPES:
        return f"the compiled kernels take float32 and float64, not {tensor.dtype}"
    return ""


def _report_rounded_matmul() -> None:
    """Say once if torch was told to round the factors of float32 matrix products (TF32, or bfloat16 on some CPUs)."""
    if "matmul" in _reported:
        return
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # the program has set it by torch's newer interface, which the older one cannot read
        precision = torch.backends.cuda.matmul.fp32_precision
    if precision in {"highest", "ieee", "none"}:
        return
    _reported.add("matmul")
    warnings.warn(
        f"torch's float32 matmul precision is {precision!r}: matrix products in plain torch (the layers' and those of "
        "the reference path) may round their factors to TF32 or bfloat16, and equivariance holds to three digits "
        "only. torch.set_float32_matmul_precision('highest') keeps float32. (Said once.)",
        MatmulPrecisionWarning,
        stacklevel=4,
    )


def choose(operation: str, tensor: torch.Tensor) -> str:
    """Return the backend that runs ``operation`` on ``tensor`` now: ``"reference"``, ``"cpu"`` or ``"cuda"``.

    Where the compiled kernels would be the natural choice and cannot be used, a `BackendFallbackWarning` says so, once
    for each reason.

    Args:
        operation: Its name, for the messages and because not every one has CUDA kernels.
        tensor: The principal input.

    Raises:
        BackendError: ``"cpu"`` or ``"cuda"`` was asked for by name and cannot take the tensor.
    """
    requested = requested_backend()
    if tensor.dtype == torch.float32 and not torch.compiler.is_compiling():
        _report_rounded_matmul()
    if requested == "reference":
        return "reference"
    device = tensor.device.type
    obstacle = _obstacle(tensor, operation)
    if requested in {"cpu", "cuda"}:
        if device != requested:
            obstacle = f"the tensor is on {device}"
        if obstacle:
            raise BackendError(f"{operation} was asked to run on the backend {requested!r}: {obstacle}.")
    if not obstacle:
        if device == "cuda":
            _follow_determinism()
        return device
    if not torch.compiler.is_compiling() and obstacle not in _reported:
        _reported.add(obstacle)
        warnings.warn(
            f"{operation} runs on the reference path in plain torch: {obstacle}. (Said once; "
            "EQUITOOLS_BACKEND=reference or use_backend('reference') asks for this path and silences the warning.)",
            BackendFallbackWarning,
            stacklevel=3,
        )
    return "reference"


def active_backend(tensor: torch.Tensor) -> str:
    """Return the backend that would run an operation on ``tensor`` now, without running or reporting anything.

    Args:
        tensor: Any tensor; its device and dtype count.

    Returns:
        ``"cpu"``, ``"cuda"`` or ``"reference"``.
    """
    return "reference" if requested_backend() == "reference" or _obstacle(tensor) else tensor.device.type


def compiled_on(device: torch.device | str) -> bool:
    """Return whether compiled kernels would run operations on a device now, without reporting anything.

    Args:
        device: Its type counts.
    """
    kind = torch.device(device).type
    library = {"cpu": _extension, "cuda": _cuda}.get(kind)
    return library is not None and library.loaded and requested_backend() != "reference"


def status() -> list[BackendStatus]:
    """Return the state of every backend, with the reason and what to do about it.

    Returns:
        One entry each for ``reference``, ``cpu``, ``cuda`` and ``torch_scatter``.
    """
    scatter = importlib.util.find_spec("torch_scatter") is not None
    cpu_reason = _extension.reason + (f", {cpu_capability()}" if _extension.loaded else "")
    return [
        BackendStatus("reference", True, "plain torch, always there"),
        BackendStatus("cpu", _extension.loaded, cpu_reason, _extension.hint),
        BackendStatus("cuda", _cuda.loaded, _cuda.reason, _cuda.hint),
        BackendStatus(
            "torch_scatter",
            scatter,
            "installed; used for segment operations when asked for" if scatter else "torch-scatter is not installed",
            "" if scatter else "optional: pip install --no-build-isolation 'equitools[scatter]'",
        ),
    ]
