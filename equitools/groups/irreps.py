"""The vocabulary of representations: e3nn's `Irreps`, with errors that a user can read."""

from __future__ import annotations

from typing import Any

from equitools.errors import IrrepsError
from equitools.groups._e3nn import Irrep, Irreps

__all__ = ["Irrep", "Irreps", "parse_irreps"]


def parse_irreps(value: Any, name: str = "irreps") -> Irreps:
    """Read irreps from anything that e3nn understands.

    Args:
        value: A string such as ``"8x0e + 4x1o"``, an `Irreps`, or a list of pairs.
        name: What is read, for the message.

    Returns:
        The irreps.

    Raises:
        IrrepsError: It is not understood.

    Example:
        >>> parse_irreps("2x0e + 1o").dim
        5
    """
    try:
        return Irreps(value)
    except (ValueError, TypeError, AttributeError, AssertionError) as error:
        raise IrrepsError(
            f"{name} = {value!r} is not understood. Irreps are written 'multiplicity x degree parity', "
            "for example '8x0e + 4x1o' (e: even, o: odd under inversion)."
        ) from error
