"""Does a network on padded point clouds keep what it promises? One row for each way in which published code broke it.

`equitools.testing.equivariance_report` judges models of graphs; this one judges anything that takes tensors
``[B, N, d]``: wrappers of `equitools.symmetrize`, point-cloud networks, canonicalizers around them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError, nearest
from equitools.groups import MatrixGroup
from equitools.testing.point_judge import Declared, PointJudge
from equitools.testing.report import Row, RowTable

__all__ = ["POINT_CHECKS", "PointReport", "point_report"]

#: The headings of the rows. Those after "padding" are there only if they apply, or are asked for.
POINT_CHECKS = (
    "same call twice", "input unchanged", "after another call", "rotation", "reflection", "translation",
    "group element", "permutation", "batch", "padding", "gradient", "forces", "mirror image", "continuity",
)  # fmt: skip
#: What holds of random layers with the same seed, too: not what changes the number or order of random numbers.
_IN_TRAINING = {"same call twice", "input unchanged", "rotation", "reflection", "translation", "group element"}


@dataclass(frozen=True)
class PointReport(RowTable):
    """What `point_report` found.

    Attributes:
        model: Class that was checked.
        group: The symmetry that was asked for.
        dtype: In which it computed.
        trials: Random elements of each kind.
        num_points: Points of a cloud, with padding.
        num_clouds: Clouds of the batch.
        training: Whether it was checked in training mode.
        rows: One for each check and output.
    """

    model: str
    group: str
    dtype: torch.dtype
    trials: int
    num_points: int
    num_clouds: int
    training: bool
    rows: tuple[Row, ...]

    @property
    def verdict(self) -> str:
        """One line: passed, or what broke and by how much."""
        outputs = [row for row in self.rows if row.transformation != "input unchanged"]
        if self.passed and all(row.size == 0.0 for row in outputs):
            return "passed, but all outputs are zero: nothing was shown"
        return super().verdict

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return {
            "model": self.model,
            "group": self.group,
            "dtype": str(self.dtype).removeprefix("torch."),
            "trials": self.trials,
            "num_points": self.num_points,
            "num_clouds": self.num_clouds,
            "training": self.training,
            "passed": self.passed,
            "verdict": self.verdict,
            "rows": self.row_dicts(),
        }

    def __str__(self) -> str:
        """Return the table as plain text."""
        mode = ", training mode with a fixed seed" if self.training else ""
        clouds = "1 cloud" if self.num_clouds == 1 else f"{self.num_clouds} clouds"
        trials = "1 trial" if self.trials == 1 else f"{self.trials} trials"
        return "\n".join(
            [
                f"{self.model} under {self.group}: {self.verdict}",
                f"{str(self.dtype).removeprefix('torch.')}, {clouds} of {self.num_points} points, "
                f"{trials} of each kind{mode}",
                "",
                self.table,
            ]
        )


def point_report(
    net: torch.nn.Module | Callable[..., Any],
    values: Tensor | Sequence[Any],
    group: str | MatrixGroup = "E(3)",
    inputs: Declared | Sequence[Declared] | None = None,
    outputs: Declared | Sequence[Declared] | Mapping[str, Declared] | None = None,
    *,
    mask: Tensor | None = None,
    trials: int = 3,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    training: bool = False,
    any_size: bool = False,
    per_point: Mapping[str, bool] | None = None,
    conservative: tuple[str, str] | None = None,
    chiral: bool = False,
    degenerate: Sequence[Tensor | Sequence[Any]] = (),
    skip: Sequence[str] = (),
    tolerance: float | None = None,
) -> PointReport:
    """Check a network on point clouds (or graphs given as matrices) in every way that its symmetry allows.

    Args:
        net: ``net(*values)``, or ``net(*values, mask=mask)`` if it takes a mask. A module is copied, converted to
            ``dtype`` and put in evaluation mode; it is never changed.
        values: The inputs ``[B, ...]``, one tensor or one for each argument. Take random clouds in general position,
            with a number of points that is no other axis' length: an axis 1 of that length is taken for the points.
        group: ``"E(d)"``, ``"SE(d)"``, ``"O(d)"``, ``"SO(d)"``, or ``"S_n"`` for permutations alone; of any other group
            (Lorentz, SL, affine, …) random elements are tried as they are, in the row "group element".
        inputs: Representation of the input, or of each; ``None``: what the module declares (a wrapper's ``inputs``),
            or ``"points"``.
        outputs: Representation of the output, a sequence for a tuple, a mapping of names for a dictionary; ``None``:
            what the module declares, or ``"scalar"``.
        mask: Real points ``[B, N]``. With it the padding is judged; include some padding.
        trials: Random elements of each kind.
        seed: Same seed, same report.
        dtype: In which the network computes; what is applied to inputs and outputs is in float64 always.
        training: Judge the training mode instead, with the same seed before every call: random layers commute with
            rotations if they treat the components of a vector alike. Only rows that can hold then are there.
        any_size: The network takes clouds of any number of points: "padding" then also appends points, and each cloud
            is tried without its padding.
        per_point: For outputs where axis 1 says the wrong thing: whether it is the axis of the points. Outputs that
            are no dictionary are called ``"output"``, or ``"output 0"``, ``"output 1"``, …
        conservative: Names of an energy and of its forces: they must be minus its gradient by finite differences.
        chiral: The network claims to tell mirror images apart: the row "mirror image" fails if it does not.
        degenerate: Inputs (each like ``values``) at which the outputs must be continuous.
        skip: Headings of rows to leave out, see `POINT_CHECKS`.
        tolerance: Largest relative error of equivariance; ``None`` for `tolerances.EQUIVARIANCE` of the dtype.

    Returns:
        The report: ``.passed``, ``.broken`` (headings of failed rows), ``.worst``, ``.rows``; ``str()`` is a table.

    Raises:
        UnknownNameError: A group, or a heading in ``skip``, is not known.
        ConfigError: A representation is not known, or ``conservative`` names no output.
        ShapeError: The values and their declarations do not fit together.

    Properties:
        flags_known_faults: each fault of published code gets a failed row under its heading, its mended twin none.
        leaves_net_alone: the module, the inputs and the state of torch's random numbers are not changed.
    """
    listed = [values] if isinstance(values, Tensor) else list(values)
    unknown = [name for name in skip if name not in POINT_CHECKS]
    if unknown:
        raise UnknownNameError(f"point_report has no row {unknown[0]!r}. {nearest(unknown[0], POINT_CHECKS)}")
    if trials < 1:
        raise ShapeError(f"point_report needs at least one trial, got trials={trials}.")
    with torch.random.fork_rng(devices=[]):
        judge = PointJudge(
            net, listed, group, inputs, outputs, mask, trials, seed, dtype, training, per_point, tolerance
        )
        rows: list[Row] = []
        extra: dict[str, Callable[[], list[Row]]] = {}
        if any_size or mask is not None:
            extra["padding"] = lambda: judge.padding(any_size)
        extra["gradient"] = judge.gradient
        if conservative is not None:
            extra["forces"] = lambda: judge.forces(*conservative)
        if chiral:
            extra["mirror image"] = judge.mirror_image
        if degenerate:
            extra["continuity"] = lambda: judge.continuity(degenerate)
        checks = {**judge.checks(), **extra}
        for name in POINT_CHECKS:
            if name in checks and name not in skip and (not training or name in _IN_TRAINING):
                rows.extend(checks[name]())
    return PointReport(
        model=type(net).__name__ if isinstance(net, torch.nn.Module) else getattr(net, "__name__", type(net).__name__),
        group=judge.group_name,
        dtype=dtype,
        trials=trials,
        num_points=judge.size,
        num_clouds=judge.batch,
        training=training,
        rows=tuple(rows),
    )
