"""The groups that the guide names can be had by these names."""

from __future__ import annotations

import re
from pathlib import Path

from equitools.groups import finite_group, parse_group

PAGE = Path(__file__).resolve().parents[2] / "docs" / "lie_groups.md"


def test_names_of_the_guide_are_understood() -> None:
    table = PAGE.read_text(encoding="utf-8").split("## Which group do I have?")[1].split("\n\n")[2]
    rows = [line.split("|")[2] for line in table.splitlines()[2:]]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(names) > 20
    for name in names:
        if name in {"T", "O", "I"}:
            assert len(finite_group(name))
        elif name not in {"S_n", "A_n", "p4", "p4m"}:  # of grids and permutations: no matrices of a fixed size
            assert parse_group(name).name == name
