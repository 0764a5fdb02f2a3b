"""Models on disk: one ``.safetensors`` file with tensors and JSON, nothing pickled.

The JSON lies under the metadata key ``equitools`` and holds ``format_version``, ``equitools_version``, ``spec`` (from
which `from_spec` builds the module), ``convention`` (of all irreps), ``units``, ``species``, ``cutoff``, ``dtype`` and
``summary`` (facts of the training). An older file is brought up to date by the functions of `UPGRADES` in turn.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from equitools._atomic import atomic_path
from equitools._version import __version__
from equitools.errors import CheckpointError, ConfigError, EquitoolsError, ShapeError, UnknownNameError
from equitools.groups import Convention
from equitools.models import registry
from equitools.models.contract import Backbone, float_dtype
from equitools.models.direct_forces import DirectPotential
from equitools.models.heads import HeadModel, head_from_spec
from equitools.models.potential import Potential

__all__ = ["FORMAT_VERSION", "UNITS", "UPGRADES", "from_spec", "load", "read_metadata", "save"]

FORMAT_VERSION = 1
CONVENTION = "e3nn-0.5"
UNITS = {
    "length": "Å",
    "energy": "eV",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    "charge": "e",
    "dipole": "e·Å",
    "mass": "amu",
    "time": "fs",
}

Model = Backbone | Potential | HeadModel
Contents = tuple[dict[str, Any], dict[str, torch.Tensor]]

UPGRADES: dict[int, Callable[[dict[str, Any], dict[str, torch.Tensor]], Contents]] = {}
"""``UPGRADES[v]`` turns metadata and tensors of format v into those of format v + 1."""

_KEY = "equitools"
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


def from_spec(spec: Mapping[str, Any]) -> Model:
    """Build a module with fresh weights from what ``model.spec()`` returned.

    Args:
        spec: ``{"kind": "backbone" | "potential" | "head", "backbone": {"name": ..., "config": {...}}, ...}``.

    Returns:
        A `Backbone`, `Potential` or `HeadModel`.

    Raises:
        ConfigError: The spec is incomplete, or holds keys or values that are not understood.
        UnknownNameError: No such network or head is registered.
    """
    try:
        rest = dict(spec)
        kind, backbone = rest.pop("kind"), rest.pop("backbone")
        name, config = backbone["name"], dict(backbone["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"a model's spec needs 'kind' and 'backbone' with 'name' and 'config'; {error!r}.") from error
    network = registry.build(name, **config)
    try:
        if kind == "backbone" and not rest:
            return network
        if kind == "potential":
            return (DirectPotential if rest.pop("direct_forces", False) else Potential)(network, **rest)
        if kind == "head" and set(rest) == {"head"}:
            return HeadModel(network, head_from_spec(rest["head"]))
    except TypeError as error:
        raise ConfigError(f"the spec of this {kind} is not understood: {error}.") from error
    raise ConfigError(
        f"a model's kind is 'backbone', 'potential' or 'head', not {kind!r} with the keys {sorted(rest)}."
    )


def save(model: torch.nn.Module, path: str | os.PathLike[str], summary: Mapping[str, Any] | None = None) -> None:
    """Write a model to one file, whole or not at all.

    Args:
        model: A `Potential`, `HeadModel` or registered `Backbone`, on any device.
        path: Where to; the usual suffix is ``.safetensors``.
        summary: JSON-able facts of the training. ``None`` keeps ``model.training_summary`` of a loaded model.

    Raises:
        ConfigError: The model has no spec, or the summary is not JSON-able.
    """
    describe = getattr(model, "spec", None)
    if not callable(describe):
        raise ConfigError(
            f"save takes a Potential, a HeadModel or a registered Backbone, not {type(model).__name__}; "
            "only these can be built again from a file."
        )
    spec = describe()
    facts = dict(getattr(model, "training_summary", {}) if summary is None else summary)
    content = {
        "format_version": FORMAT_VERSION,
        "equitools_version": __version__,
        "spec": spec,
        "convention": Convention.preset(CONVENTION).to_dict(),
        "units": UNITS,
        "species": [int(z) for z in spec["backbone"]["config"]["species"]],
        "cutoff": float(spec["backbone"]["config"]["cutoff"]),
        "dtype": str(float_dtype(model)).removeprefix("torch."),
        "summary": facts,
    }
    try:
        text = json.dumps(content, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the training summary must be plain finite JSON values: {error}.") from error
    tensors = {name: value.detach().to("cpu").clone().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: text})


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the JSON part of a model file, as it stands in the file, without building the model.

    Raises:
        CheckpointError: The file is missing, truncated or not a model of equitools.
    """
    return _read(path, with_tensors=False)[0]


def load(
    path: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
) -> Model:
    """Read a model from a file; nothing in it is executed.

    Args:
        path: A file that `save` wrote.
        device: Where the model is to be.
        dtype: Floating-point type of the parameters; ``None`` for that of the file.

    Returns:
        The model in evaluation mode, with the facts of its training in ``training_summary``.

    Raises:
        CheckpointError: The file is missing, truncated, foreign, of a newer format, of another convention or without
            some of the tensors, or its network is not known here.
        ShapeError: The dtype is not one of torch's floating-point types, or the device does not have it.

    Properties:
        round_trip: a loaded model gives the saved model's outputs bit for bit.
    """
    content, tensors = _upgraded(path, *_read(path, with_tensors=True))
    _check_convention(path, content.get("convention"))
    stored = _dtype(content.get("dtype", "float32"))
    target = stored if dtype is None else _dtype(dtype)
    place = torch.device(device)
    if place.type == "mps" and target == torch.float64:
        raise ShapeError("Apple's MPS has no float64; load the model with dtype='float32', or on the CPU.")
    try:
        model = from_spec(content["spec"])
    except (KeyError, UnknownNameError) as error:
        hint = " If another package provides it, install that package." if isinstance(error, UnknownNameError) else ""
        raise CheckpointError(f"{path}: the model cannot be built: {error}{hint}") from error
    except EquitoolsError as error:
        raise CheckpointError(f"{path}: the model cannot be built: {error}") from error
    model = model.to(stored)
    _fill(path, model, tensors)
    model.training_summary = dict(content.get("summary", {}))
    return model.to(device=place, dtype=target).eval()


def _dtype(value: torch.dtype | str) -> torch.dtype:
    name = str(value).removeprefix("torch.")
    if name not in _DTYPES:
        raise ShapeError(f"a model's dtype is one of {', '.join(_DTYPES)}, not {value!r}.")
    return _DTYPES[name]


def _read(path: str | os.PathLike[str], with_tensors: bool) -> Contents:
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"there is no model file {str(path)!r}. Check the path.")
    try:
        with safe_open(file, framework="pt") as archive:
            metadata = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()} if with_tensors else {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is truncated, damaged or no .safetensors file ({error}). Copy it again, or give a file that "
            "equitools.save wrote."
        ) from error
    if _KEY not in metadata:
        raise CheckpointError(f"{path} is a .safetensors file of another program; give one that equitools.save wrote.")
    try:
        content = json.loads(metadata[_KEY])
        version = content["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: the description of the model is damaged ({error!r}).") from error
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise CheckpointError(f"{path}: the description of the model is damaged (format version {version!r}).")
    return content, tensors


def _upgraded(path: str | os.PathLike[str], content: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Contents:
    version = content["format_version"]
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}, written by equitools {content.get('equitools_version', '?')}; this "
            f"is equitools {__version__}, which reads up to version {FORMAT_VERSION}. Install a newer equitools."
        )
    for step in range(version, FORMAT_VERSION):
        content, tensors = UPGRADES[step](content, tensors)
    return content, tensors


def _check_convention(path: str | os.PathLike[str], stored: Any) -> None:
    ours = Convention.preset(CONVENTION).to_dict()
    if stored == ours:
        return
    given = stored if isinstance(stored, Mapping) else {}
    different = [
        f"{key}: {given.get(key)!r} instead of {value!r}" for key, value in ours.items() if given.get(key) != value
    ]
    raise CheckpointError(
        f"{path} was written in another convention for irreps than {CONVENTION} "
        f"({'; '.join(different) or 'extra keys'}), so its weights would mean something else here. Convert it with "
        "the program that wrote it."
    )


def _fill(path: str | os.PathLike[str], model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    expected = model.state_dict()
    problems = []
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing:
        problems.append(f"these tensors are missing: {', '.join(missing)}")
    if extra:
        problems.append(f"these tensors are not known: {', '.join(extra)}")
    for name in sorted(expected.keys() & tensors.keys()):
        if expected[name].shape != tensors[name].shape:
            problems.append(f"{name} has shape {list(tensors[name].shape)} instead of {list(expected[name].shape)}")
    if problems:
        raise CheckpointError(f"{path} does not fit its own description: {'; '.join(problems)}.")
    model.load_state_dict(dict(tensors))
