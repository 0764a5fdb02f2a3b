"""Full precision where autocast is on; the function is that of `equitools.groups.precision`, for all floors above."""

from __future__ import annotations

from equitools.groups.precision import full_precision

__all__ = ["full_precision"]
