"""Decompositions of matrix groups: round trips by condition, densities against finite differences, limits.

    python benchmarks/decompositions.py            # two minutes
    python benchmarks/decompositions.py --quick    # does it run? Writes .bench/decompositions.json

Writes `benchmarks/results/decompositions.json`, in float64 throughout:

- of each group and decomposition the largest error of the round trip (Frobenius norm, relative) of random elements, by
  the condition number of their linear part; how far its rotations are from orthogonal, and the tolerance (a power of
  ten) with which the parts are elements of the group (of GL⁺(n), which is open, that says nothing);
- the largest difference of the logarithm of its density from that of a Jacobian by finite differences;
- what is lost by taking the polar parts from the eigenvectors of g gᵀ, by a small leading minor in LU, and how
  often Jordan blocks are found.

and draws `docs/images/decompositions.png` (`--picture` draws it and measures nothing).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import IMAGES, ROOT, command, save
from benchmarks.lie.decompositions_picture import picture
from equitools.groups import MatrixGroup, parse_group
from equitools.groups.decompositions import (
    big_cell_condition,
    compose,
    decompose,
    jordan_chevalley,
    kinds,
    log_density,
    lu,
    part_names,
    polar,
)

GROUPS = [
    *(f"GL+({n})" for n in range(2, 7)), *(f"SL({n})" for n in range(2, 7)), "Sp(2)", "Sp(4)", "Sp(6)",
    *(f"SO({n})" for n in range(3, 7)), "SO+(1,3)", "SE(3)", "SIM(3)", "R^2:GL+(2)", "R^2:SL(2)", "R^3:GL+(3)",
]  # fmt: skip
CONDITIONS = (1.0, 1e2, 1e4, 1e6, 1e8)
#: Parts that are orthogonal matrices, by kind (of the linear part).
TURNS = {"polar": ("k",), "kak": ("k1", "k2"), "iwasawa": ("k",)}


def linear_part(group: MatrixGroup) -> MatrixGroup:
    return getattr(group, "linear", group)


def halves(group: MatrixGroup) -> tuple[Tensor, Tensor]:
    """The symmetric and the antisymmetric elements of the algebra's basis, orthonormal by ½ tr XᵀY."""
    basis = linear_part(group).algebra_basis
    basis = basis / (basis.square().sum((-1, -2), keepdim=True) / 2).sqrt()
    symmetric = (basis == basis.mT).all(-1).all(-1)
    return basis[symmetric], basis[~symmetric]


def elements(group: MatrixGroup, condition: float, batch: int, generator: torch.Generator) -> Tensor:
    """Random elements k1 exp(x) k2 whose linear part has a stated condition."""
    symmetric, skew = halves(group)

    def random(basis: Tensor) -> Tensor:
        x = 2 * torch.randn(batch, len(basis), generator=generator, dtype=torch.float64)
        return torch.einsum("bk,kij->bij", x, basis)

    g = torch.matrix_exp(random(skew)) @ torch.matrix_exp(random(skew))
    if len(symmetric):
        stretch = random(symmetric)
        trace = torch.diagonal(stretch, dim1=-2, dim2=-1).mean(-1)  # all elements have volume 1
        stretch = stretch - trace[:, None, None] * torch.eye(stretch.shape[-1], dtype=torch.float64)
        values = torch.linalg.eigvalsh(stretch)
        spread = values[:, -1] - values[:, 0]
        stretch = stretch / spread.clamp(min=1e-6)[:, None, None] * math.log(condition)
        g = torch.matrix_exp(random(skew)) @ torch.matrix_exp(stretch) @ g
    if "GL+" in group.name:
        g = g * torch.exp(torch.randn(batch, 1, 1, generator=generator, dtype=torch.float64))
    if linear_part(group) is group:
        return g
    g = torch.nn.functional.pad(g, (0, 1, 0, 1))
    g[:, -1, -1] = 1.0
    g[:, :-1, -1] = torch.randn(batch, group.n, generator=generator, dtype=torch.float64)
    return g


def round_trip(group: MatrixGroup, kind: str, g: Tensor) -> dict[str, float]:
    """Largest errors of a batch."""
    parts = decompose(group, g, kind)
    back = compose(group, parts, kind)
    off = (back - g).norm(dim=(-1, -2)) / g.norm(dim=(-1, -2))
    found = {"round_trip": float(off.max()), "median": float(off.median())}
    eye = torch.eye(group.size, dtype=torch.float64)
    turns = [part for name, part in zip(part_names(group, kind), parts, strict=True) if name in TURNS.get(kind, ())]
    if turns:
        found["orthogonality"] = max(float((k.mT @ k - eye).abs().max()) for k in turns)
    if not group.name.startswith("GL+") and kind != "bruhat":
        found["membership"] = max(membership(group, part) for part in parts)
    if kind == "lu":
        found["big_cell_condition"] = float(big_cell_condition(g[:, : group.n, : group.n]).max())
    return found


def membership(group: MatrixGroup, part: Tensor) -> float:
    """The smallest power of ten that all of a batch are elements to, as the group measures it."""
    for exponent in range(-15, 0):
        if bool(group.contains(part, 10.0**exponent).all()):
            return 10.0**exponent
    return math.inf


# --- densities --------------------------------------------------------------------------------------------------------


def flat_basis(group: MatrixGroup) -> Tensor:
    """Of the stretches along the axes (or the boost, or the angle of one plane), orthonormal by ½ tr XᵀY."""
    symmetric, skew = halves(group)
    name = linear_part(group).name
    if name.startswith("SO+"):
        return symmetric[symmetric[:, 0, 3] != 0]
    if name.startswith("SO"):
        return skew[skew[:, -2, -1] != 0]
    n = linear_part(group).n
    off = ~torch.eye(n, dtype=torch.bool)
    return symmetric[(symmetric[:, off] == 0).all(-1)]


def left_turns(group: MatrixGroup) -> Tensor:
    """Of the rotations k1 modulo those that commute with all of A."""
    _, skew = halves(group)
    moved = [x for x in skew if any(float((x @ y - y @ x).abs().max()) > 0 for y in flat_basis(group))]
    kept = torch.stack(moved)
    if linear_part(group).name.startswith("SO("):  # k1 keeps the last axis
        kept = kept[(kept[:, -1] == 0).all(-1)]
    return kept


def right_turns(group: MatrixGroup) -> Tensor:
    _, skew = halves(group)
    return skew[(skew[:, -1] == 0).all(-1)] if linear_part(group).name.startswith("SO(") else skew


def growing(group: MatrixGroup) -> Tensor:
    """Of the unipotent part: what is stretched by a generic element of A in descending order."""
    linear, flat = linear_part(group), flat_basis(group)
    symmetric, skew = halves(group)
    basis = torch.cat([symmetric, skew])
    heights = torch.zeros(linear.n, linear.n, dtype=torch.float64)
    if linear.name.startswith("SO+"):
        heights = flat[0]
    else:
        m = linear.n // 2
        order = [*range(linear.n, 0, -1)] if not linear.name.startswith("Sp") else [*range(m, 0, -1), *range(-m, 0)]
        heights = torch.diag(torch.tensor(order, dtype=torch.float64))
    ad = torch.einsum("kij,lij->kl", basis, heights @ basis - basis @ heights) / 2
    values, vectors = torch.linalg.eigh(ad)
    return torch.einsum("kl,kij->lij", vectors[:, values > 1e-6], basis)


def frames(group: MatrixGroup, kind: str) -> list[tuple[Tensor, str]]:
    """Of each part its basis, and whether coordinates stand behind it, before it, or in its logarithm."""
    symmetric, skew = halves(group)
    n = linear_part(group).n
    if kind == "polar":
        return [(symmetric, "log"), (skew, "behind")]
    if kind == "kak":
        return [(left_turns(group), "behind"), (flat_basis(group), "behind"), (right_turns(group), "before")]
    if kind == "iwasawa":
        return [(skew, "behind"), (flat_basis(group), "behind"), (growing(group), "behind")]
    if kind == "lu":
        return [(growing(group).mT, "behind"), (flat_basis(group), "behind"), (growing(group), "behind")]
    scale = torch.eye(n, dtype=torch.float64).unsqueeze(0) * (2 / n) ** 0.5
    rest = torch.cat([symmetric, skew])
    trace = torch.diagonal(rest, dim1=-2, dim2=-1).sum(-1).abs()
    return [(scale, "behind"), (rest[trace < 1e-12], "behind")]  # levi


def moved_parts(parts: tuple[Tensor, ...], used: list[tuple[Tensor, str]]) -> Callable[[Tensor], Tensor]:
    """The element as a function of coordinates of its parts, zero where they are now."""
    if used[0][1] == "log":
        values, vectors = torch.linalg.eigh(parts[0])
        logarithm = (vectors * values.log()) @ vectors.mT

    def element(x: Tensor) -> Tensor:
        whole = torch.eye(parts[0].shape[-1], dtype=torch.float64)
        for part, (basis, where), y in zip(parts, used, x.split([len(b) for b, _ in used]), strict=True):
            step = torch.einsum("k,kij->ij", y, basis)
            if where == "log":
                whole = whole @ torch.matrix_exp(logarithm + step)
            else:
                whole = whole @ (part @ torch.matrix_exp(step) if where == "behind" else torch.matrix_exp(step) @ part)
        return whole

    return element


def density_error(group: MatrixGroup, kind: str, g: Tensor) -> float:
    """Largest difference of the logarithm of the density from that of a numeric Jacobian, of elements ``[B, n, n]``."""
    worst = 0.0
    symmetric, skew = halves(group)
    algebra = torch.cat([symmetric, skew])
    for one in g:
        parts = decompose(group, one, kind)
        used = frames(group, kind)
        element = moved_parts(parts, used)
        size = sum(len(basis) for basis, _ in used)
        jacobian = finite_differences(element, size)
        inside = torch.einsum("aij,kij->ak", torch.linalg.solve(one, jacobian), algebra) / 2
        wanted = torch.linalg.slogdet(inside)[1]
        worst = max(worst, float((wanted - log_density(group, parts, kind)).abs()))
    return worst


def finite_differences(element: Callable[[Tensor], Tensor], size: int, step: float = 2e-3) -> Tensor:
    """Derivatives ``[size, n, n]`` at zero, by central differences of sixth order."""
    rows = []
    for k in range(size):
        x = torch.zeros(size, dtype=torch.float64)
        total = 0
        for j, weight in ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60)):
            x[k] = j * step
            ahead = element(x)
            x[k] = -j * step
            total = total + weight * (ahead - element(x))
        rows.append(total / step)
    return torch.stack(rows)


# --- limits -----------------------------------------------------------------------------------------------------------


def by_eigenvectors(g: Tensor) -> tuple[Tensor, Tensor]:
    """The polar parts from the eigenvectors of g gᵀ, as they have been published."""
    values, vectors = torch.linalg.eigh(g @ g.mT)
    p = torch.matrix_exp(0.5 * (vectors * values.log().unsqueeze(-2)) @ vectors.mT)
    return p, torch.linalg.solve(p, g)


def limits(batch: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    group = parse_group("GL+(3)")
    eye = torch.eye(3, dtype=torch.float64)
    rows = []
    for condition in (1e2, 1e4, 1e6, 1e8):
        g = elements(group, condition, batch, generator)
        row = {"condition": condition}
        for name, function in (("svd", polar), ("eigenvectors", by_eigenvectors)):
            k = function(g)[1]
            worst = float((k.mT @ k - eye).abs().max())
            row[name] = worst if math.isfinite(worst) else None
        rows.append(row)
    cells = []
    for minor in (1e-2, 1e-4, 1e-6, 1e-8):
        g = torch.linalg.qr(torch.randn(batch, 3, 3, generator=generator, dtype=torch.float64))[0]
        g[:, 0, 0] = minor
        g = g[torch.linalg.det(g) > 0.1]
        l, d, u = lu(g)
        off = (l @ d @ u - g).norm(dim=(-1, -2)) / g.norm(dim=(-1, -2))
        cells.append({"minor": minor, "error": float(off.max()), "condition": float(big_cell_condition(g).max())})
    return {"polar": rows, "big_cell": cells, "jordan": [blocks(m, batch, generator) for m in range(2, 7)]}


def blocks(m: int, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """How often a Jordan block of m rows beside another eigenvalue is found in random bases of condition 10."""
    form = torch.block_diag(torch.eye(m), torch.tensor([[-0.5]])).double()
    form[range(m - 1), range(1, m)] = 1.0
    basis = elements(parse_group(f"SL({m + 1})"), 10.0, batch, generator)
    a = basis @ form @ torch.linalg.inv(basis)
    wanted = basis @ torch.diag(torch.diagonal(form)) @ torch.linalg.inv(basis)
    off = (jordan_chevalley(a)[0] - wanted).norm(dim=(-1, -2)) / a.norm(dim=(-1, -2))
    right = off < 1e-6
    return {"m": m, "found": float(right.double().mean()), "error": float(off[right].max())}


def measure(name: str, batch: int) -> list[dict[str, Any]]:
    """All decompositions of a group."""
    group, rows = parse_group(name), []
    stretches = len(halves(group)[0]) > 0 and name != "SIM(3)"
    for kind in kinds(group):
        if kind == "jordan_chevalley":  # random elements are semisimple: it has a table of its own
            continue
        row: dict[str, Any] = {"group": name, "kind": kind, "n": group.n, "conditions": {}}
        for condition in CONDITIONS if stretches else (1.0,):
            generator = torch.Generator().manual_seed(group.size)
            g = elements(group, condition, batch, generator)
            row["conditions"][f"{condition:g}"] = round_trip(group, kind, g)
        if linear_part(group) is group and kind != "bruhat":
            g = elements(group, 10.0, 3, torch.Generator().manual_seed(7))
            row["density_error"] = density_error(group, kind, g)
        rows.append(row)
        print(name, kind, row["conditions"], row.get("density_error"), flush=True)
    return rows


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, help="the result file")
    parser.add_argument("--picture", action="store_true", help="only draw docs/images/decompositions.png")
    arguments = parser.parse_args()
    if arguments.picture:
        picture(IMAGES / "decompositions.png")
        return
    torch.set_num_threads(1)
    groups, batch = (["GL+(2)", "Sp(2)", "SE(3)"], 10) if arguments.quick else (GROUPS, 1000)
    path = arguments.output or (ROOT / ".bench" / "decompositions.json" if arguments.quick else None)
    result = {
        "protocol": {"elements": batch, "conditions": list(CONDITIONS), "dtype": "float64"},
        "rows": [row for name in groups for row in measure(name, batch)],
        "limits": limits(batch),
    }
    if not arguments.quick:
        picture(IMAGES / "decompositions.png")
    ran = command("decompositions.py")
    print(f"wrote {save('decompositions', ran, result, path)}")


if __name__ == "__main__":
    main()
