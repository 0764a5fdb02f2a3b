"""Physical properties of the elements as fixed numbers, for networks that are told more of an atom than its number.

The published FAENet takes 14 properties of the mendeleev package. Here they are 14 of those that can be had offline:
ASE's masses, covalent radii (Cordero 2008), van der Waals radii (Alvarez 2013 and Bondi 1964), magnetic moments of the
free atoms and volumes of simple crystals, Pauling's electronegativities (Allred 1961), period, group, electrons of the
open shells, and how many of these count as valence electrons.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.models.element_table import COLUMNS

__all__ = ["GROUPS", "PERIODS", "PROPERTIES", "standardised_properties"]

PROPERTIES: tuple[str, ...] = tuple(COLUMNS)
"""Names of the properties."""

_LAST = 118


def _column(name: str) -> list[float]:
    known = [math.nan if word == "-" else float(word) for word in COLUMNS[name].split()]
    return known + [math.nan] * (_LAST - len(known))


PERIODS: tuple[int, ...] = tuple(7 if math.isnan(value) else int(value) for value in _column("period"))
"""Rows of the periodic table; ``PERIODS[z - 1]`` belongs to the atomic number z."""

GROUPS: tuple[int, ...] = tuple(19 if math.isnan(value) else int(value) for value in _column("group"))
"""Columns of the periodic table, 19 for the f block and for elements beyond the table."""


def standardised_properties() -> Tensor:
    """Return the table of properties with mean 0 and variance 1 of each; what is not known is 0, the mean.

    Returns:
        ``[119, len(PROPERTIES)]`` float64; row z belongs to the atomic number z, row 0 to none.

    Properties:
        standardised: over the elements where a property is known its mean is 0 and its variance 1.
    """
    table = torch.tensor([_column(name) for name in PROPERTIES], dtype=torch.float64).T
    known = ~table.isnan()
    count = known.sum(0)
    mean = table.nan_to_num(0.0).sum(0) / count
    deviation = torch.where(known, table - mean, 0.0)
    scaled = deviation / (deviation.square().sum(0) / count).sqrt()
    return torch.cat([scaled.new_zeros(1, scaled.shape[1]), scaled])
