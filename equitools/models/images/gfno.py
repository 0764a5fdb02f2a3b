"""G-FNO: a Fourier neural operator that is equivariant to turns of the grid (Helwig et al., ICML 2023)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from equitools.errors import ConfigError, ShapeError
from equitools.groups.finite import FiniteGroup
from equitools.models.images.grid_embedding import EMBEDDINGS, grid_embedding
from equitools.nn.finite_conv import FiniteGroupLinear
from equitools.nn.spectral import GroupSpectralConv2d
from equitools.ops.grid_actions import Centre
from equitools.ops.precision import full_precision

__all__ = ["GFNO"]


class GFNO(torch.nn.Module):
    """A group-equivariant Fourier neural operator for fields on the torus.

    As `FNO`, with features on the group: a map of each pixel lifts the fields; blocks
    ``gelu(GMLP(norm(spectral(norm(x)))) + skip(x))`` of group convolutions; a mean over the group at the end. With half
    the channels of an FNO on p4 it has about as many parameters, whose kernels are used four times each.

    Args:
        in_channels: Of the fields; for a flow its last frames.
        out_channels: Of the answer.
        width: Channels within; each has one number for each group element.
        modes: Wave numbers below this one are kept; 2·modes − 1 is at most the side.
        layers: Blocks.
        group: ``"p4"``, ``"p4m"``, or another group of signed permutation matrices of the plane.
        parity: ``"scalar"``: fields turn as f(g⁻¹x). ``"pseudoscalar"``: as det(g) f(g⁻¹x), like the vorticity of a
            flow. The difference is in reflections only.
        embedding: ``"distance"`` or ``"none"``.
        centre: About which point it is equivariant, as distances are measured from it: ``"origin"`` (pixel 0) or
            ``"grid"`` (the middle). Without an embedding it is equivariant about both.

    Properties:
        equivariance: turned fields give turned answers (reflected ones with the sign of ``parity``).
        parameters: with the width of an FNO times m/(2m − 1), about its number of parameters, for p4.

    References:
        J. Helwig et al., Group Equivariant Fourier Neural Operators for Partial Differential Equations, ICML 2023
        (arXiv:2306.05697). The published code sums over the group at the end where the text has a mean; the weights
        behind it absorb the factor.
    """

    sign: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        width: int = 10,
        modes: int = 12,
        layers: int = 4,
        *,
        group: str | FiniteGroup = "p4",
        parity: str = "scalar",
        embedding: str = "distance",
        centre: Centre = "origin",
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, width, layers) < 1:
            raise ConfigError("Channels, width and layers must be at least 1.")
        if embedding not in {"distance", "none"}:
            raise ConfigError(
                f"An equivariant network takes the embedding 'distance' or 'none', not {embedding!r}: coordinates "
                "would say which way the grid lies."
            )
        if parity not in {"scalar", "pseudoscalar"}:
            raise ConfigError(f"Fields are 'scalar' or 'pseudoscalar', not {parity!r}.")
        group = FiniteGroup.named(group) if isinstance(group, str) else group
        self.in_channels, self.embedding, self.centre, self.parity = in_channels, embedding, centre, parity
        self.lift = torch.nn.Conv2d(in_channels, width, 1)
        self.place = torch.nn.Conv2d(EMBEDDINGS[embedding], width, 1, bias=False) if EMBEDDINGS[embedding] else None
        self.blocks = torch.nn.ModuleList(_Block(width, modes, group) for _ in range(layers))
        self.widen = FiniteGroupLinear(width, 4 * width, group)
        sign = torch.linalg.det(group.matrices).round().to(torch.get_default_dtype())
        odd = parity == "pseudoscalar" and bool((sign < 0).any())
        self.register_buffer("sign", sign if odd else torch.ones_like(sign), persistent=False)
        # a constant answer would not change its sign
        self.project = torch.nn.Conv2d(4 * width, out_channels, 1, bias=not odd)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Predict.

        Args:
            x: ``[B, in_channels, S, S]``.

        Returns:
            ``[B, out_channels, S, S]``.

        Raises:
            ShapeError: The shape is another, or the images are too small for the modes.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels or x.shape[2] != x.shape[3]:
            raise ShapeError(f"Fields [B, {self.in_channels}, S, S] are needed, given {list(x.shape)}.")
        sign = self.sign.reshape(1, 1, -1, 1, 1)
        bias = 0.0 if self.lift.bias is None else self.lift.bias.reshape(1, -1, 1, 1, 1)
        h = sign * functional.conv2d(x, self.lift.weight).unsqueeze(2) + bias
        if self.place is not None:
            place = grid_embedding(self.embedding, x.shape[-1], x, self.centre)
            h = h + self.place(place.unsqueeze(0)).unsqueeze(2)
        for k, block in enumerate(self.blocks):
            h = block(h)
            h = functional.gelu(h) if k + 1 < len(self.blocks) else h
        return self.project((sign * functional.gelu(self.widen(h))).mean(2))


class _Block(torch.nn.Module):
    def __init__(self, width: int, modes: int, group: FiniteGroup) -> None:
        super().__init__()
        self.spectral = GroupSpectralConv2d(width, width, modes, group)
        self.mlp = torch.nn.Sequential(
            FiniteGroupLinear(width, width, group), torch.nn.GELU(), FiniteGroupLinear(width, width, group)
        )
        self.skip = FiniteGroupLinear(width, width, group)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.instance_norm(self.spectral(functional.instance_norm(x)))
        return self.mlp(h) + self.skip(x)
