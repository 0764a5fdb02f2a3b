"""What the reports of `equitools.testing` return: rows, a verdict, and a table."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

__all__ = ["Report", "Row", "RowTable"]

UNITS = {
    "energy": "eV", "node_energy": "eV", "interaction_energy": "eV", "forces": "eV/Å", "stress": "eV/Å³",
    "virial": "eV", "dipole": "e·Å",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One output under one kind of transformation; the worst of all trials.

    Attributes:
        transformation: What was done: ``rotation``, ``inversion``, ``reflection``, ``translation``,
            ``lattice translation``, ``permutation`` or ``same call twice``; `equitools.testing.point_report` has more.
        output: Key of the output.
        absolute: Largest error, in the unit of the output.
        relative: The same divided by `size`.
        tolerance: Largest relative error that passes.
        size: RMS of the output (of the part that is worst).
        part: Which irrep of the output is worst, or a remark.
    """

    transformation: str
    output: str
    absolute: float
    relative: float
    tolerance: float
    size: float
    part: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; an error that is not a number is not."""
        return self.relative <= self.tolerance

    @property
    def ratio(self) -> float:
        """Relative error over tolerance: larger is worse, and NaN is worst of all."""
        if math.isnan(self.relative):
            return math.inf
        if self.tolerance == 0:
            return math.inf if self.relative > 0 else 0.0
        return self.relative / self.tolerance

    @property
    def vacuous(self) -> bool:
        """Whether the output is zero, so that the row shows nothing."""
        return self.passed and self.size == 0.0

    def __str__(self) -> str:
        """Return one sentence: what, under what, by how much."""
        unit = UNITS.get(self.output, "")
        name = f"{self.output} ({self.part})" if self.part else self.output
        if not math.isfinite(self.relative):
            return f"{name} under {self.transformation}: not finite, or of another shape"
        amount = f"{self.absolute:.3g} {unit}".strip()
        return f"{name} under {self.transformation}: off by {amount}, {_percent(self.relative)} of its RMS"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %" if value >= 1e-4 else f"{value:.1e}"


class RowTable:
    """Rows with a verdict and a table.

    Attributes:
        rows: One for each transformation and output.
    """

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every row is within its tolerance."""
        return all(row.passed for row in self.rows)

    @property
    def worst(self) -> float:
        """The largest relative error: that of `worst_row`."""
        return self.worst_row.relative if self.rows else 0.0

    @property
    def worst_row(self) -> Row:
        """The row that is farthest beyond (or nearest to) its tolerance."""
        return max(self.rows, key=lambda row: (row.ratio, row.relative))

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that are beyond their tolerance, worst first."""
        return tuple(sorted((row for row in self.rows if not row.passed), key=lambda row: -row.ratio))

    @property
    def broken(self) -> tuple[str, ...]:
        """The kinds of transformation with a failed row, in the order of the table."""
        return tuple(dict.fromkeys(row.transformation for row in self.rows if not row.passed))

    @property
    def verdict(self) -> str:
        """One line: passed, or what broke and by how much."""
        if not self.passed:
            return f"BROKEN: {self.worst_row}"
        if all(row.size == 0.0 for row in self.rows):
            return "passed, but all outputs are zero: nothing was shown"
        return f"passed, largest relative error {self.worst:.1e} ({self.worst_row.output})"

    @property
    def table(self) -> str:
        """The rows as plain text, a line each."""
        header = ("transformation", "output", "error", "unit", "relative", "tolerance", "verdict")
        lines = [header, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        table.insert(1, "  ".join("─" * width for width in widths))
        return "\n".join(table)

    def row_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as plain values, ready for JSON (an error that is not finite becomes a string)."""
        rows = []
        for row in self.rows:
            values = {k: v if not isinstance(v, float) or math.isfinite(v) else str(v) for k, v in asdict(row).items()}
            rows.append({**values, "passed": row.passed})
        return rows


@dataclass(frozen=True)
class Report(RowTable):
    """Errors of equivariance, by transformation and output.

    Attributes:
        model: Class (and backbone) that was checked.
        group: The symmetry that was asked for.
        dtype: In which the model computed.
        trials: Random elements of each kind.
        num_nodes: Atoms.
        num_graphs: Structures.
        rattle: Å by which the structure was shaken beforehand.
        rows: One for each transformation and output.
    """

    model: str
    group: str
    dtype: torch.dtype
    trials: int
    num_nodes: int
    num_graphs: int
    rattle: float
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON (an error that is not finite becomes a string)."""
        return {
            "model": self.model,
            "group": self.group,
            "dtype": _name(self.dtype),
            "trials": self.trials,
            "num_nodes": self.num_nodes,
            "num_graphs": self.num_graphs,
            "rattle": self.rattle,
            "passed": self.passed,
            "worst": self.worst if math.isfinite(self.worst) else str(self.worst),
            "verdict": self.verdict,
            "rows": self.row_dicts(),
        }

    def __str__(self) -> str:
        """Return the table as plain text."""
        structures = "1 structure" if self.num_graphs == 1 else f"{self.num_graphs} structures"
        atoms = "1 atom" if self.num_nodes == 1 else f"{self.num_nodes} atoms"
        trials = "1 trial" if self.trials == 1 else f"{self.trials} trials"
        return "\n".join(
            [
                f"{self.model} under {self.group}: {self.verdict}",
                f"{_name(self.dtype)}, {atoms} in {structures} (rattled by {self.rattle:g} Å), {trials} of each kind",
                "",
                self.table,
            ]
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _cells(row: Row) -> tuple[str, ...]:
    verdict = "zero output" if row.vacuous else "ok" if row.passed else "BROKEN"
    name = f"{row.output} ({row.part})" if row.part else row.output
    bound = "exact" if row.tolerance == 0 else f"{row.tolerance:.0e}"
    error, relative = f"{row.absolute:.2e}", f"{row.relative:.2e}"
    return row.transformation, name, error, UNITS.get(row.output, ""), relative, bound, verdict
