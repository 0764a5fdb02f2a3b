"""What each factor of a 2 × 2 matrix does to the unit square and the unit circle, one row a decomposition."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from equitools.groups.decompositions import decompose

__all__ = ["picture"]

#: The element of most rows: it turns, stretches and shears. Bruhat has one outside of the big cell, Jordan–Chevalley
#: one with a double eigenvalue, and affine a shift.
ELEMENT = ((1.1, -1.0), (0.8, 0.45))
OUTSIDE = ((0.0, -1.2), (0.8, 0.7))
DEFECTIVE = ((1.364, 0.792), (-0.088, 0.836))
SHIFTED = ((1.1, -1.0, 0.7), (0.8, 0.45, 0.25), (0.0, 0.0, 1.0))
#: Group, decomposition, element, title, and of each part, in the order in which they act, its index and what it does.
ROWS = (
    ("GL+(2)", "polar", ELEMENT, "polar: $g = p\\,k$", ((1, "rotation $k$"), (0, "stretch $p$"))),
    (
        "GL+(2)", "kak", ELEMENT, "KAK: $g = k_1\\,a\\,k_2$",
        ((2, "rotation $k_2$"), (1, "stretch along the axes $a$"), (0, "rotation $k_1$")),
    ),
    (
        "GL+(2)", "iwasawa", ELEMENT, "Iwasawa: $g = k\\,a\\,n$",
        ((2, "shear $n$"), (1, "stretch along the axes $a$"), (0, "rotation $k$")),
    ),
    (
        "GL+(2)", "lu", ELEMENT, "big cell: $g = l\\,d\\,u$",
        ((2, "shear along x, $u$"), (1, "stretch along the axes $d$"), (0, "shear along y, $l$")),
    ),
    (
        "GL+(2)", "bruhat", OUTSIDE, "Bruhat: $g = l\\,w\\,d\\,u$, $l = 1$",
        ((3, "shear along x, $u$"), (2, "diagonal $d$"), (1, "permutation of the axes $w$")),
    ),
    ("GL+(2)", "levi", ELEMENT, "Levi: $g = c\\,s$", ((1, "$s$ keeps areas"), (0, "scale $c$"))),
    (
        "GL+(2)", "jordan_chevalley", DEFECTIVE, "Jordan–Chevalley: $g = s\\,u$",
        ((1, "unipotent $u$: a shear"), (0, "semisimple $s$: here a scale")),
    ),
    (
        "R^2:GL+(2)", "semidirect", SHIFTED, "affine: $g = t\\,h$",
        ((1, "linear part $h$"), (0, "translation $t$")),
    ),
)  # fmt: skip


def shapes() -> tuple[Tensor, Tensor, Tensor]:
    """The square [0, 1]², the circle, and the ends of the two axes."""
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    angle = torch.linspace(0, 2 * torch.pi, 181, dtype=torch.float64)
    return square, torch.stack([angle.cos(), angle.sin()], -1), torch.eye(2, dtype=torch.float64)


def move(g: Tensor, points: Tensor) -> Tensor:
    """Apply a matrix ``[2, 2]`` or a homogeneous one ``[3, 3]`` to points ``[N, 2]``."""
    moved = points @ g[:2, :2].mT
    return moved + g[:2, 2] if g.shape[-1] == 3 else moved


def picture(path: Path) -> None:
    """Draw all rows: the first factor that acts is the last of the product.

    Args:
        path: Of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = 1 + max(len(acting) for *_, acting in ROWS)
    figure, axes = plt.subplots(len(ROWS), columns, figsize=(2.45 * columns, 2.3 * len(ROWS)), squeeze=False)
    for row, (group, kind, element, title, acting) in zip(axes, ROWS, strict=True):
        g = torch.tensor(element, dtype=torch.float64)
        parts = decompose(group, g, kind)
        done = torch.eye(g.shape[-1], dtype=torch.float64)
        _draw(row[0], done, None, title, first=True)
        for k, (index, said) in enumerate(acting):
            before, done = done, parts[index] @ done
            _draw(row[1 + k], done, before, said, last=k + 1 == len(acting))
        for empty in row[1 + len(acting) :]:
            empty.set_axis_off()
    figure.tight_layout(h_pad=0.6, w_pad=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _draw(axis, g: Tensor, before: Tensor | None, title: str, first: bool = False, last: bool = False) -> None:
    square, circle, ends = shapes()
    if before is not None:
        for shape in (square, circle):
            axis.plot(*move(before, shape).mT, color="#b8bcc4", lw=0.9, zorder=1)
    origin = move(g, torch.zeros(1, 2, dtype=torch.float64))[0]
    axis.fill(*move(g, circle).mT, color="#2b6cb0", alpha=0.13, lw=0, zorder=2)
    axis.plot(*move(g, circle).mT, color="#2b6cb0", lw=1.4, zorder=3)
    axis.fill(*move(g, square).mT, color="#dd6b20", alpha=0.16, lw=0, zorder=2)
    axis.plot(*move(g, square).mT, color="#dd6b20", lw=1.4, zorder=3)
    for end, color in zip(move(g, ends), ("#c53030", "#276749"), strict=True):
        axis.annotate("", end.tolist(), origin.tolist(), arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.5})
    axis.axhline(0, color="#d5d8dd", lw=0.6, zorder=0)
    axis.axvline(0, color="#d5d8dd", lw=0.6, zorder=0)
    axis.set(xlim=(-1.95, 2.25), ylim=(-1.7, 2.1), xticks=[], yticks=[], aspect="equal")
    axis.spines[:].set_color("#444444" if last else "#d5d8dd")
    axis.spines[:].set_linewidth(1.3 if last else 0.8)
    axis.set_title(title, fontsize=10.5 if first else 9.5, fontweight="bold" if first else "normal")
