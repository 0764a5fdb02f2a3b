"""Which pointwise activations commute with a representation.

σ applied to each coordinate is equivariant if σ(M x) = M σ(x) for the matrices M of the group. Setting x = 0 and
x = t eⱼ shows what that takes (M. Pacini et al., A Characterization Theorem for Equivariant Networks with Point-wise
Activations, ICLR 2024, arXiv 2401.09235):

- σ linear: nothing; σ affine, not linear: the rows of M have the sum 1;
- σ not affine: two entries in a row that are not 0 would make σ additive; so M is monomial, one entry a in each row,
  and σ(a t) = a σ(t). For a σ that is odd that allows a = ±1 (signed permutations), for a positively homogeneous one
  such as ReLU a > 0, for any other a = 1 (permutations), and where σ(0) ≠ 0 always a = 1 only.

The matrices of a connected group that are monomial are diagonal and positive: what rotates has no pointwise activation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.groups.irreps import Irreps
from equitools.groups.representations import Rep

__all__ = ["ACTIVATION_KINDS", "check_admissible", "classify_activation"]

ACTIVATION_KINDS = ("linear", "affine", "positively homogeneous", "odd", "generic")

_TOLERANCE = 1e-9
_KNOWN: dict[type[torch.nn.Module], str] = {
    torch.nn.Identity: "linear",
    torch.nn.ReLU: "positively homogeneous",
    torch.nn.LeakyReLU: "positively homogeneous",
    torch.nn.Tanh: "odd",
    torch.nn.Softsign: "odd",
    torch.nn.Tanhshrink: "odd",
    torch.nn.Sigmoid: "generic",
    torch.nn.SiLU: "generic",
    torch.nn.GELU: "generic",
    torch.nn.ELU: "generic",
    torch.nn.Softplus: "generic",
}
_INSTEAD = (
    "Use an activation that respects the representation: nn.GatedNonlinearity (any representation) or nn.Gate (irreps) "
    "multiply each block by a function of an invariant, nn.NormActivation by one of its norm; or activate functions on "
    "a grid of the group or the sphere, where it permutes."
)

Activation = Callable[[Tensor], Tensor]


def classify_activation(activation: Activation) -> str:
    """Return what kind of function an activation is, as far as equivariance goes.

    Known modules are looked up, other functions are evaluated in float64 at 0 and at ± 10⁻³ … 10³.

    Args:
        activation: A function of tensors that acts on each entry alone.

    Returns:
        ``"linear"``, ``"affine"``, ``"positively homogeneous"``, ``"odd"`` or ``"generic"``.

    Raises:
        ConfigError: The function is random, mixes entries, or treats channels differently.

    Example:
        >>> classify_activation(torch.tanh)
        'odd'
    """
    kind = _KNOWN.get(type(activation)) if isinstance(activation, torch.nn.Module) else None
    if kind is not None:
        return kind
    if isinstance(activation, torch.nn.PReLU):
        if activation.num_parameters > 1:
            raise ConfigError("A PReLU with a slope for each channel is a different function in each: not pointwise.")
        return "positively homogeneous"
    t = _grid()
    y = _evaluate(activation, t)
    good = y.isfinite()
    t, y = t[good], y[good]
    zero, one = (float(_evaluate(activation, torch.tensor([v], dtype=torch.float64))) for v in (0.0, 1.0))
    line = (one - zero) * t + zero
    if _equal(y, line):
        return "linear" if abs(zero) <= _TOLERANCE else "affine"
    if all(commutes_with_factor(activation, a) for a in (0.37, 2.9, 17.0)):
        return "positively homogeneous"
    return "odd" if commutes_with_factor(activation, -1.0) else "generic"


def commutes_with_factor(activation: Activation, factor: float) -> bool:
    """Return whether σ(a t) = a σ(t), as far as the grid shows.

    Args:
        activation: σ.
        factor: a.
    """
    t = _grid()
    left, right = _evaluate(activation, factor * t), factor * _evaluate(activation, t)
    good = left.isfinite() & right.isfinite()
    return _equal(left[good], right[good])


def check_admissible(rep: Rep | Irreps | str, activation: Activation) -> str:
    """Raise unless a pointwise activation commutes with a representation.

    Args:
        rep: A representation, or irreps of O(3).
        activation: Applied to each coordinate.

    Returns:
        The kind of the activation, as `classify_activation`; of permutation representations, which admit all,
        ``"generic"``.

    Raises:
        ConfigError: It does not commute; the message says with which block, why, and what to use instead.

    Properties:
        sound: what passes has σ(ρ(g) x) = ρ(g) σ(x).
        complete: what is refused has an x and a g where that fails.
    """
    rep = rep if isinstance(rep, Rep) else Rep.from_irreps(rep)
    kind = classify_activation(activation)  # which refuses what is not pointwise
    if rep.permutation:
        return "generic"
    if kind == "linear":
        return kind
    if kind == "affine":
        _check_sums(rep)
        return kind
    fixed_zero = abs(float(_evaluate(activation, torch.zeros(1, dtype=torch.float64)))) <= _TOLERANCE
    for block in rep.blocks:
        lie, discrete = block.rep.images
        reason = _algebra_reason(lie, kind) or _discrete_reason(discrete, kind, activation, fixed_zero)
        if reason:
            raise ConfigError(
                f"The activation {_name(activation)} ({kind}) applied to each coordinate does not commute with "
                f"{rep.group.name} on {block.rep.name}: {reason} {_INSTEAD}"
            )
    return kind


def _check_sums(rep: Rep) -> None:
    one = torch.ones(rep.dim, dtype=torch.float64)
    lie, discrete = rep.images
    moved = [float((m @ one).abs().max()) for m in lie] + [float((m @ one - one).abs().max()) for m in discrete]
    if max(moved, default=0.0) > 1e-8:
        raise ConfigError(
            f"An affine activation adds a constant, which {rep.group.name} moves on {rep.name}: it commutes only where "
            f"the rows of all matrices have the sum 1. {_INSTEAD}"
        )


def _algebra_reason(lie: Tensor, kind: str) -> str:
    if not lie.numel():
        return ""
    diagonal = torch.diag_embed(torch.diagonal(lie, dim1=1, dim2=2))
    size = max(1.0, float(lie.abs().max()))
    if float((lie - diagonal).abs().max()) > 1e-9 * size:
        return "its continuous part mixes coordinates, which only a linear activation survives."
    if float(diagonal.abs().max()) > 1e-9 * size and kind != "positively homogeneous":
        return "it scales coordinates continuously, which needs a positively homogeneous activation such as ReLU."
    return ""


def _discrete_reason(discrete: Tensor, kind: str, activation: Activation, fixed_zero: bool) -> str:
    for m in discrete:
        present = m.abs() > 1e-9 * float(m.abs().max())
        if bool((present.sum(1) != 1).any()):
            return "a matrix of it has two entries in a row, so coordinates are mixed."
        for entry in {round(float(a), 9) for a in m[present]}:
            if abs(entry - 1) < 1e-8:
                continue
            if not fixed_zero:
                return f"the activation is not 0 at 0, and a matrix has an entry {entry:g} other than 1."
            allowed = entry > 0 if kind == "positively homogeneous" else kind == "odd" and abs(entry + 1) < 1e-8
            if not allowed and not commutes_with_factor(activation, entry):
                return f"a matrix of it has an entry {entry:g}, and σ({entry:g} t) is not {entry:g} σ(t)."
    return ""


def _grid() -> Tensor:
    positive = torch.logspace(-3, 3, 241, dtype=torch.float64)
    return torch.cat([-positive.flip(0), torch.zeros(1, dtype=torch.float64), positive])


def _evaluate(activation: Activation, t: Tensor) -> Tensor:
    if isinstance(activation, torch.nn.Module) and any(True for _ in activation.parameters()):
        activation = copy.deepcopy(activation).double()
    with torch.no_grad():
        y = activation(t)
        again, part = activation(t.clone()), activation(t[: len(t) // 2 + 1].flip(0)).flip(0)
    if not isinstance(y, Tensor) or y.shape != t.shape:
        raise ConfigError(f"{_name(activation)} does not return a number for each number.")
    if not torch.equal(y.nan_to_num(), again.nan_to_num()):
        raise ConfigError(f"{_name(activation)} is random: evaluate it in its evaluation mode, or choose another.")
    if not _equal(part.nan_to_num(), y[: len(part)].nan_to_num()):
        raise ConfigError(f"{_name(activation)} mixes coordinates: it is no pointwise activation.")
    return y.double()


def _equal(a: Tensor, b: Tensor) -> bool:
    return bool(((a - b).abs() <= _TOLERANCE * (1e-3 + a.abs() + b.abs())).all())


def _name(activation: Activation) -> str:
    return getattr(activation, "__name__", type(activation).__name__)
