"""The tables of decompositions; every number is from the result file."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.products.origin import origin

__all__ = ["jordan", "limits", "page"]

Table = dict[str, Any]
NOTHING = "There are no results of this version yet: `python benchmarks/decompositions.py` measures and writes them.\n"
UP_TO = 1e4  # the condition up to which parts are compared


def _families(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Rows by family and kind; of affine groups each group is a family."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        series = re.fullmatch(r"(GL\+|SL|Sp|SO)\(\d\)", row["group"])
        family = f"{series[1]}(n)" if series else row["group"]
        found.setdefault((family, row["kind"]), []).append(row)
    return found


def page(table: Table | None) -> str:
    """Return the table of round trips and densities.

    Args:
        table: The result file, or None where there is none.
    """
    if table is None:
        return NOTHING
    conditions = [f"{c:g}" for c in table["result"]["protocol"]["conditions"]]
    head = " | ".join(f"{float(c):.0e}" if float(c) > 1 else "1" for c in conditions)
    lines = [
        f"| group | n | decomposition | round trip at condition {head} | rotations not orthogonal by "
        "| parts in the group to | density off by |",
        f"|---|---|---|{'---|' * (len(conditions) + 3)}",
    ]
    for (family, kind), rows in _families(table["result"]["rows"]).items():
        sizes = sorted({row["n"] for row in rows})
        cells = []
        for condition in conditions:
            errors = [row["conditions"][condition]["round_trip"] for row in rows if condition in row["conditions"]]
            cells.append(f"{max(errors):.0e}" if errors else "–")
        near = [found for row in rows for condition, found in row["conditions"].items() if float(condition) <= UP_TO]
        turns, members = ([found[key] for found in near if key in found] for key in ("orthogonality", "membership"))
        densities = [row["density_error"] for row in rows if "density_error" in row]
        lines.append(
            f"| {family} | {', '.join(map(str, sizes))} | {kind} | {' | '.join(cells)} | {_worst(turns)} "
            f"| {_worst(members)} | {_worst(densities)} |"
        )
    batch = table["result"]["protocol"]["elements"]
    note = (
        f"The worst of {batch} random elements for each n, float64. The condition is that of the linear part; groups "
        "without stretches have one only. Errors are relative, in the Frobenius norm; orthogonality is the largest "
        "entry of kᵀk − 1, and membership the tolerance of `contains` (a power of ten), both up to condition "
        f"{UP_TO:.0e}; densities are differences of logarithms from numeric Jacobians (central differences of sixth "
        "order)."
    )
    return "\n\n".join(["\n".join(lines), note, origin(table)]) + "\n"


def _worst(values: list[float]) -> str:
    return f"{max(values):.0e}" if values else "–"


def limits(table: Table | None) -> str:
    """Return what is lost by the eigenvectors of g gᵀ, and by small leading minors."""
    if table is None:
        return NOTHING
    found = table["result"]["limits"]
    lines = ["| condition of g | k not orthogonal by: SVD | eigenvectors of g gᵀ |", "|---|---|---|"]
    lines += [
        f"| {row['condition']:.0e} | {_or_failed(row['svd'])} | {_or_failed(row['eigenvectors'])} |"
        for row in found["polar"]
    ]
    other = ["| leading minor | largest `big_cell_condition` | largest error of l d u |", "|---|---|---|"]
    other += [f"| {row['minor']:.0e} | {row['condition']:.1e} | {row['error']:.0e} |" for row in found["big_cell"]]
    return "\n\n".join(["\n".join(lines), "\n".join(other), origin(table)]) + "\n"


def jordan(table: Table | None) -> str:
    """Return how often Jordan blocks are found."""
    if table is None:
        return NOTHING
    lines = ["| rows of the block | found | largest relative error of s |", "|---|---|---|"]
    lines += [
        f"| {row['m']} | {100 * row['found']:.3g} % | {row['error']:.0e} |"
        for row in table["result"]["limits"]["jordan"]
    ]
    return "\n\n".join(["\n".join(lines), origin(table)]) + "\n"


def _or_failed(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.0e}"
