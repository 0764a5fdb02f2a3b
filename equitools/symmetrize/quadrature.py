"""The quadrature of rotations under the name that averages know it by; it lives in `equitools.groups.quadrature`."""

from __future__ import annotations

from equitools.groups.quadrature import rotation_quadrature

__all__ = ["rotation_quadrature"]
