"""The resume file ``last.ckpt``: tensors and plain containers, so that it loads with ``weights_only=True``."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from equitools._atomic import atomic_path
from equitools.errors import CheckpointError

__all__ = ["RESUME_VERSION", "load_resume", "save_resume"]

RESUME_VERSION = 1
_KIND = "equitools resume file"


def save_resume(path: Path, state: dict[str, Any]) -> None:
    """Write a resume file, whole or not at all: a kill leaves the file of the epoch before.

    Args:
        path: Target.
        state: Tensors, numbers, strings, None, and lists, tuples and dicts of them.
    """
    with atomic_path(path) as temporary:
        torch.save({"kind": _KIND, "version": RESUME_VERSION, **state}, temporary)


def load_resume(path: Path) -> dict[str, Any]:
    """Read a resume file without unpickling anything but tensors and plain containers.

    Raises:
        CheckpointError: Missing, truncated, of another kind or a newer format.
    """
    if not path.is_file():
        raise CheckpointError(
            f"There is nothing to resume: {str(path)!r} does not exist. Leave resume out to start anew, "
            "or set output to the folder of the run that is to go on."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"The resume file {str(path)!r} is damaged or is not one of ours ({first}). Start anew with overwrite=true."
        ) from error
    if not isinstance(state, dict) or state.get("kind") != _KIND:
        raise CheckpointError(f"{str(path)!r} is not a resume file of equitools.")
    if int(state["version"]) > RESUME_VERSION:
        raise CheckpointError(
            f"The resume file {str(path)!r} has format {state['version']}, but this version of equitools reads up to "
            f"{RESUME_VERSION}. Update equitools."
        )
    return state
