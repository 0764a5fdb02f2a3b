"""A pull towards equivariance, separately for several groups: soft and mixed symmetry.

To the loss of any network is added Σ_G λ_G R_G with R_G = Σ_layers ½‖W − P_G W‖² + ½‖b − P_G b‖², where P_G is the
orthogonal projector onto the G-equivariant maps. Once, early in the training, the weights λ_G are divided by
(R_G / min R)^p: a group that the data resist is let go, the others stay (H. Kim et al., Regularizing Towards Soft
Equivariance Under Mixed Symmetries, ICML 2023, arXiv 2306.00356).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.equivariant_maps import THRESHOLD, EquivariantMaps, equivariant_basis
from equitools.groups.generators import generators_of
from equitools.groups.representations import Rep, scalar

__all__ = ["ProjectionRegulariser", "ProjectionTuning", "declared_layers"]

Layer = tuple[Any, Rep, Rep]


class _HalfSquare(torch.autograd.Function):
    """½‖W − P W‖², whose gradient is W − P W itself, because P is an orthogonal projector."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, maps: EquivariantMaps) -> Tensor:
        rest = weight - maps.project(weight)
        ctx.save_for_backward(weight, rest)
        ctx.maps = maps
        return rest.square().sum() / 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        weight, rest = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody differentiates the gradient: it is linear in the weight
            rest = weight - ctx.maps.project(weight)
        return grad * rest, None


def declared_layers(model: torch.nn.Module) -> list[Layer]:
    """Return the linear layers of a network that say how they transform (`nn.SoftEquivariantLinear`).

    Args:
        model: Any network.

    Returns:
        Triples of layer, representation of its input, representation of its output.
    """
    found: list[Layer] = []
    for module in model.modules():
        rep_in, rep_out = getattr(module, "rep_in", None), getattr(module, "rep_out", None)
        if isinstance(module, torch.nn.Linear) and isinstance(rep_in, Rep) and isinstance(rep_out, Rep):
            found.append((module, rep_in, rep_out))
    return found


class ProjectionRegulariser(torch.nn.Module):
    """Σ_G λ_G R_G of some linear layers of a network; to be added to its loss.

    Args:
        layers: A network whose layers say how they transform (see `declared_layers`), or triples of a layer with
            ``weight [out, in]`` and ``bias`` (``torch.nn.Linear``), the representation of its input and of its output.
            The representations are of any group that contains the candidates; they are restricted to each.
        groups: Candidates: a name for each, and the group as for `groups.generators_of`.
        weight: λ_G at first, one number or one for each group.
        threshold: As of `groups.equivariant_basis`.

    Attributes:
        names: Of the groups.
        weights: λ_G ``[groups]`` float64, a buffer.

    Raises:
        ConfigError: There is no layer or no group, or a weight is negative.
        ShapeError: A layer's weight does not fit its representations.

    Properties:
        zero_when_equivariant: R_G is 0 for layers that are equivariant to G, and for no others.
        gradient: of R_G by a weight is W − P_G W.
        nested: R of a subgroup is not larger than R of the group.
    """

    weights: Tensor

    def __init__(
        self,
        layers: torch.nn.Module | Iterable[Layer],
        groups: Mapping[str, Any],
        weight: float | Mapping[str, float] = 1.0,
        threshold: float = THRESHOLD,
    ) -> None:
        super().__init__()
        found = declared_layers(layers) if isinstance(layers, torch.nn.Module) else list(layers)
        if not found or not groups:
            raise ConfigError(
                "A regulariser needs at least one layer and one group. Layers of a network are found by themselves "
                "where they are SoftEquivariantLinear; give others as (layer, rep_in, rep_out)."
            )
        self.names = tuple(groups)
        given = [float(weight[name]) if isinstance(weight, Mapping) else float(weight) for name in self.names]
        if min(given) < 0:
            raise ConfigError(f"The weights of the groups must not be negative, given {given}.")
        self.register_buffer("weights", torch.tensor(given, dtype=torch.float64))
        self._layers = [layer for layer, _, _ in found]  # in a list: they are the network's modules, not ours
        self._maps: list[list[tuple[EquivariantMaps, EquivariantMaps]]] = []
        for layer, rep_in, rep_out in found:
            shape = getattr(getattr(layer, "weight", None), "shape", ())
            if shape != (rep_out.dim, rep_in.dim):
                raise ShapeError(
                    f"A layer's weight is {list(shape)}, its representations need [{rep_out.dim}, {rep_in.dim}]."
                )
            row = []
            for group in groups.values():
                a, b = (rep.restrict(generators_of(group)) for rep in (rep_in, rep_out))
                row.append((equivariant_basis(a, b, threshold), equivariant_basis(scalar(b.group), b, threshold)))
            self._maps.append(row)

    def residuals(self) -> Tensor:
        """Return R_G ``[groups]`` in the layers' dtype, differentiable."""
        rows = []
        for layer, row in zip(self._layers, self._maps, strict=True):
            values = [_HalfSquare.apply(layer.weight, maps) for maps, _ in row]
            if getattr(layer, "bias", None) is not None:
                more = [_HalfSquare.apply(layer.bias.unsqueeze(-1), shifts) for _, shifts in row]
                values = [a + b for a, b in zip(values, more, strict=True)]
            rows.append(torch.stack(values))
        return torch.stack(rows).sum(0)

    def forward(self) -> Tensor:
        """Return Σ_G λ_G R_G."""
        found = self.residuals()
        return (self.weights.to(found) * found).sum()

    def project(self, name: str) -> None:
        """Replace the layers' weights by their equivariant parts: from now on the symmetry is exact.

        Args:
            name: Of the group.

        Raises:
            ConfigError: It is none of the groups.
        """
        if name not in self.names:
            raise ConfigError(f"{name!r} is none of the groups {', '.join(self.names)}.")
        at = self.names.index(name)
        with torch.no_grad():
            for layer, row in zip(self._layers, self._maps, strict=True):
                layer.weight.copy_(row[at][0].project(layer.weight))
                if getattr(layer, "bias", None) is not None:
                    layer.bias.copy_(row[at][1].project(layer.bias.unsqueeze(-1)).squeeze(-1))


class ProjectionTuning:
    """The automatic choice of the weights: λ_G ← λ_G / (R_G / min R)^p, once.

    Call `after_epoch` after each epoch. In the last ``window`` epochs before ``at``, less the ``warm_up`` first of
    them, the smallest R_G of each group is noted; at ``at`` the weights are set.

    Args:
        regulariser: Whose weights are tuned.
        at: The epoch, counted from 1, after which the weights are set.
        exponent: p.
        window: Epochs before ``at`` in which R is looked at.
        warm_up: How many of those are left out.

    Attributes:
        smallest: R_G ``[groups]`` as noted; infinite before.
        done: Whether the weights were set.

    Raises:
        ConfigError: Nothing would be left of the window.
    """

    def __init__(
        self, regulariser: ProjectionRegulariser, at: int, exponent: float = 2.0, window: int = 100, warm_up: int = 50
    ) -> None:
        if at < 1 or window <= warm_up or warm_up < 0:
            raise ConfigError(f"Epochs to look at: {window} before {at}, less {warm_up}: none is left.")
        self.regulariser, self.at, self.exponent = regulariser, at, exponent
        self.first = max(1, at - (window - warm_up) + 1)
        self.smallest = torch.full_like(regulariser.weights, torch.inf)
        self.done = False

    def after_epoch(self, epoch: int) -> bool:
        """Note R, and set the weights if it is time.

        Args:
            epoch: That ended, counted from 1.

        Returns:
            Whether the weights were set now.
        """
        if self.done or epoch < self.first:
            return False
        with torch.no_grad():
            self.smallest = torch.minimum(self.smallest, self.regulariser.residuals().to(self.smallest))
            if epoch < self.at:
                return False
            self.regulariser.weights.copy_(tuned_weights(self.regulariser.weights, self.smallest, self.exponent))
        self.done = True
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs, beside the regulariser's own state."""
        return {"smallest": self.smallest.clone(), "done": self.done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state."""
        self.smallest, self.done = state["smallest"].clone(), bool(state["done"])


def tuned_weights(weights: Tensor, residuals: Tensor, exponent: float) -> Tensor:
    """Return λ_G / (R_G / min R)^p; the minimum is over the groups whose weight is not 0.

    Args:
        weights: λ_G ``[groups]``.
        residuals: R_G ``[groups]``.
        exponent: p.
    """
    active = weights > 0
    if not bool(active.any()):
        return weights.clone()
    info = torch.finfo(residuals.dtype)  # squares of roundings are not told apart
    floor = max(info.tiny, (100 * info.eps) ** 2 * float(residuals[active].max()))
    smallest = residuals[active].min().clamp_min(floor)
    return weights / (residuals.clamp_min(floor) / smallest) ** exponent
