"""The errors that equitools raises for a user's mistakes.

Every class derives from `EquitoolsError`, so that one ``except`` catches them all and the command line can turn each
of them into one paragraph and exit code 2. A message says what was asked, what was given and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BackendError",
    "CheckpointError",
    "ConfigError",
    "ConventionError",
    "DataError",
    "DegenerateFrameError",
    "EquitoolsError",
    "GraphError",
    "IrrepsError",
    "LabelError",
    "MissingDependencyError",
    "ShapeError",
    "UnknownNameError",
    "UnknownSpeciesError",
    "nearest",
]


class EquitoolsError(Exception):
    """Base class of all errors that a user can mend."""


class ShapeError(EquitoolsError, ValueError):
    """A tensor has the wrong shape, dtype or device for what was asked."""


class IrrepsError(EquitoolsError, ValueError):
    """Irreps do not match, or cannot be produced from what was given."""


class ConventionError(EquitoolsError, ValueError):
    """A convention is unknown, or two conventions cannot be converted into each other."""


class DegenerateFrameError(EquitoolsError, ValueError):
    """A cloud is too symmetric to have a frame of its own, and the caller forbade that."""


class BackendError(EquitoolsError, RuntimeError):
    """A backend was asked for that is not active here."""


class GraphError(EquitoolsError, ValueError):
    """A graph is inconsistent: not finite, an edge out of range, a periodic axis without a cell vector."""


class DataError(EquitoolsError, ValueError):
    """A data file is missing, empty, truncated or of an unknown form."""


class LabelError(DataError):
    """A label that is needed is absent, has the wrong shape, or is not finite."""


class ConfigError(EquitoolsError, ValueError):
    """A configuration has an unknown key, a wrong type or contradictory values."""


class CheckpointError(EquitoolsError, ValueError):
    """A model or resume file is truncated, foreign, or of a newer format."""


class UnknownNameError(EquitoolsError, KeyError):
    """A name (of a model, a property, a preset) is not registered."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class UnknownSpeciesError(EquitoolsError, ValueError):
    """An element that the model has never seen."""


class MissingDependencyError(EquitoolsError, ImportError):
    """An optional package is needed for what was asked."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return a sentence that helps after a misspelt name.

    Args:
        name: What was given.
        options: What would have been understood.

    Returns:
        ``Did you mean 'x'? Known: a, b, x.`` — without the question where nothing is near.
    """
    known = sorted(options)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    question = f"Did you mean {close[0]!r}? " if close else ""
    return f"{question}Known: {', '.join(known)}."
