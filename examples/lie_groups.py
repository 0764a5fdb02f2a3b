"""Matrix groups at work: coordinates, the cut of the logarithm and what to do there, images, and a check of a symmetry.

python examples/lie_groups.py
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups import Affine, GLPlus, parse_group
from equitools.testing import point_report


def coordinates() -> None:
    """Elements from coordinates and back, in several groups."""
    print(f"{'group':<14}{'dim':>4}{'log(exp(x)) - x':>18}{'|modular - 1|':>16}")
    for name in ("SO(3)", "SE(3)", "GL+(3)", "SL(2)", "Sp(4)", "SIM(2)", "R^2:GL+(2)", "SO+(1,3)", "SO(2)xSL(3)"):
        group = parse_group(name)
        x = 0.3 * torch.randn(100, group.dim, dtype=torch.float64)
        g = group.exp(x)
        error = float((group.log(g) - x).abs().max())
        modular = float((group.modular(g) - 1).abs().max())
        print(f"{name:<14}{group.dim:>4}{error:>18.1e}{modular:>16.1e}")


def no_logarithm() -> None:
    """An element that no exponential reaches, and its polar decomposition."""
    group = GLPlus(2)
    g = torch.diag(torch.tensor([-1.0, -3.0], dtype=torch.float64))
    try:
        group.log(g)
    except ShapeError as error:
        print(f"\n{error}")
    p, k = group.decompose(g, "polar")
    print(f"its parts: p = {p.tolist()}, k = {(k + 0.0).tolist()}")
    print(f"together:  {float((group.compose((p, k), 'polar') - g).abs().max()):.1e} from g")


def moved_image() -> None:
    """A blob on a grid under an affine map: moving twice is moving once, up to interpolation."""
    group = Affine("GL+(2)")
    axis = (torch.arange(64, dtype=torch.float64) + 0.5) / 32 - 1
    image = torch.exp(-20 * (axis[:, None].square() + 3 * (axis - 0.2).square())).expand(1, 1, 64, 64)
    g, h = group.exp(0.15 * torch.randn(2, group.dim, dtype=torch.float64))
    once = group.act_on_grid(g @ h, image)
    twice = group.act_on_grid(g, group.act_on_grid(h, image))
    print(f"\nan image moved twice and once differ by {float((once - twice).abs().max()):.3f}, it moved by", end=" ")
    print(f"{float((once - image).abs().max()):.3f}")


def squared_areas(x: Tensor) -> Tensor:
    """Areas that pairs of points span: what SL(2) keeps, and GL+(2) does not."""
    areas = x[:, :, None, 0] * x[:, None, :, 1] - x[:, :, None, 1] * x[:, None, :, 0]
    return areas.square().sum((1, 2)).unsqueeze(-1)


def checked() -> None:
    """The report on point clouds tries random elements of any group."""
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    for name in ("SL(2)", "GL+(2)"):
        report = point_report(squared_areas, x, name, "points", "scalar")
        print(f"squared areas under {name}: {report.verdict}")


def main() -> None:
    """Run through the four parts."""
    torch.manual_seed(0)
    coordinates()
    no_logarithm()
    moved_image()
    checked()


if __name__ == "__main__":
    main()
