"""Writes csrc/core/coupling_pattern.h from the coupling tensors of the package, or compares it with them.

python tests/csrc/coupling_pattern.py           # writes the header
python tests/csrc/coupling_pattern.py --check   # exit status 1 if it is not what would be written
"""

from __future__ import annotations

import sys
from pathlib import Path

from equitools.groups import clebsch_gordan

HEADER = Path(__file__).parents[2] / "csrc" / "core" / "coupling_pattern.h"
DEGREE = 4
NEGLIGIBLE = 1e-12  # as in equitools/ops/conv_tables.py

TOP = """\
// Which pairs (m1, m3) of a real Clebsch-Gordan tensor are not zero for every m2: bit m3 of the entry of m1, degrees 0 to {degree}.
// Written by tests/csrc/coupling_pattern.py, which also compares it with the coefficients of the package. No torch.
#pragma once

#include <cstdint>

namespace equitools {{

constexpr int kPatternDegree = {degree};

// [l1][l2][l3][m1], m1 and m3 counted from 0 to 2 l.
constexpr uint16_t kCouplingPattern[{count}][{count}][{count}][{orders}] = {{
"""  # noqa: E501
BOTTOM = """\
};

}  // namespace equitools
"""


def masks(l1: int, l2: int, l3: int) -> list[int]:
    """Return, for each m1, the set of the m3 that it couples to, as bits; zeros behind the last order."""
    rows = [0] * (2 * DEGREE + 1)
    if abs(l1 - l2) <= l3 <= l1 + l2:
        coupled = (clebsch_gordan(l1, l2, l3).abs() > NEGLIGIBLE).any(1)
        for m1, row in enumerate(coupled.tolist()):
            rows[m1] = sum(1 << m3 for m3, nonzero in enumerate(row) if nonzero)
    return rows


def header() -> str:
    """Return the text of the header."""
    degrees = range(DEGREE + 1)
    lines = []
    for l1 in degrees:
        lines.append("    {")
        for l2 in degrees:
            lines.append("        {")
            lines += [f"            {{{', '.join(map(str, masks(l1, l2, l3)))}}}," for l3 in degrees]
            lines.append("        },")
        lines.append("    },")
    top = TOP.format(degree=DEGREE, count=DEGREE + 1, orders=2 * DEGREE + 1)
    return top + "\n".join(lines) + "\n" + BOTTOM


def main() -> int:
    """Write the header, or with ``--check`` compare it."""
    if "--check" in sys.argv[1:]:
        return int(HEADER.read_text(encoding="utf-8") != header())
    HEADER.write_text(header(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
