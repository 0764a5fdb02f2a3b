"""Faults of published code, each as a small module with its mended twin: ``broken=True`` and ``broken=False``.

Where each comes from stands in its docstring. All take ``(points [B, N, 3], mask [B, N])``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equitools.symmetrize.quadrature import rotation_quadrature


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else torch.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), x, 0.0)


def mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over the real points, ``[B, 1, ...]``."""
    if mask is None:
        return x.mean(1, keepdim=True)
    return masked(x, mask).sum(1, keepdim=True) / mask.sum(1).reshape(-1, *[1] * (x.ndim - 1))


class Backbone(nn.Module):
    """A network on point clouds that knows nothing of rotations: a sum over points, then more layers."""

    def __init__(self, out: int = 2, extra: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(out)
            self.first = nn.Sequential(nn.Linear(3 + extra, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())
            self.last = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, out))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.last(mean(self.first(x), mask)[:, 0])


class Fault(nn.Module):
    """What all share: a switch, a generic network, and principal axes."""

    def __init__(self, broken: bool = True, out: int = 2) -> None:
        super().__init__()
        self.broken = broken
        self.net = Backbone(out)

    @staticmethod
    def axes(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The centred cloud and the eigenvectors of its second moments, as columns, with signs as they come."""
        centred = masked(x - mean(x, mask), mask)
        return centred, torch.linalg.eigh(centred.transpose(1, 2) @ centred)[1]

    @staticmethod
    def skewed(centred: Tensor, axes: Tensor) -> Tensor:
        """Signs by the third moments along the axes: they turn with the cloud."""
        return axes * (centred @ axes).pow(3).sum(1, keepdim=True).sign()


class LaboratorySigns(Fault):
    """FAENet ``det`` (frame_averaging.py:48–50): the sign of an eigenvector is that of the sum of its components."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        centred, axes = self.axes(x, mask)
        frame = axes * axes.sum(1, keepdim=True).sign() if self.broken else self.skewed(centred, axes)
        return self.net(centred @ frame, mask)


class ImproperFallback(Fault):
    """FAENet ``se3-det``: one choice of signs is tried; with determinant −1, too, the matrix is returned."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        centred, axes = self.axes(x, mask)
        frame = self.skewed(centred, axes)
        if not self.broken:
            frame = torch.cat([frame[..., :2], torch.linalg.cross(frame[..., 0], frame[..., 1])[..., None]], -1)
        return self.net(centred @ frame, mask)


class OnlyAboutZ(Fault):
    """FAENet ``DA``: the name of the method arrives as the dimension, and only rotations about z are ever applied."""

    degree = 4

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.broken:
            flat, weights = rotation_quadrature(2, self.degree)
            turns = torch.eye(3, dtype=x.dtype).repeat(len(flat), 1, 1)
            turns[:, :2, :2] = flat
        else:
            turns, weights = rotation_quadrature(3, self.degree)
        return sum(w * self.quartic(x @ turn.to(x), mask) for w, turn in zip(weights, turns, strict=True))

    def quartic(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """A polynomial of degree 4 in the coordinates, so that a quadrature can be exact."""
        hidden = self.net.first[0](x).square()
        return self.net.last[2](mean(hidden * hidden.roll(1, -1), mask)[:, 0])


class BiasedVectors(Fault):
    """equiadapt's VNDeepSets: ``nn.Linear`` with its bias on (N, 3, C), and dropout of single components."""

    dropout = False

    def __init__(self, broken: bool = True) -> None:
        super().__init__(broken)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in ((1, 8), (16, 8), (16, 2)))
            for layer in self.layers:
                nn.init.normal_(layer.bias, std=0.3)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        v = masked(x - mean(x, mask), mask)[..., None]
        for k, layer in enumerate(self.layers):
            v = nn.functional.linear(v, layer.weight, layer.bias if self.broken and not self.dropout else None)
            if k < len(self.layers) - 1:
                v = v * torch.tanh(v.square().sum(-2, keepdim=True))
                v = self.drop(v)
                v = torch.cat([v, mean(v, mask).expand_as(v)], -1)
        return v.transpose(2, 3)

    def drop(self, v: Tensor) -> Tensor:
        if not (self.dropout and self.training):
            return v
        shape = v.shape if self.broken else (*v.shape[:2], 1, v.shape[-1])
        return v * (torch.rand(shape) > 0.3).to(v.dtype)


class ComponentDropout(BiasedVectors):
    """The same network without bias: its dropout zeroes x of a vector and leaves y and z."""

    dropout = True


class CrossProductFeature(Fault):
    """equiadapt's 'angular' feature: a cross product of two polar vectors, taken for a polar vector."""

    def __init__(self, broken: bool = True) -> None:
        super().__init__(broken, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        centred = masked(x - mean(x, mask), mask)
        length = centred.square().sum(-1, keepdim=True)
        a, b, c = (mean(centred * weight, mask)[:, 0] for weight in (length, length.square(), torch.sin(length)))
        cross = torch.linalg.cross(a, b)
        return cross if self.broken else cross * (cross * c).sum(-1, keepdim=True)


class ThreeVectorFrame(Fault):
    """Gram–Schmidt of three vectors: the determinant is theirs, and −1 is no rotation."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        centred = masked(x - mean(x, mask), mask)
        length = centred.square().sum(-1, keepdim=True)
        a, b, c = (mean(centred * weight, mask)[:, 0] for weight in (length, length.square(), torch.sin(length)))
        first = nn.functional.normalize(a, dim=-1)
        second = nn.functional.normalize(b - (b * first).sum(-1, keepdim=True) * first, dim=-1)
        third = torch.linalg.cross(first, second)
        if self.broken:
            third = c - (c * first).sum(-1, keepdim=True) * first - (c * second).sum(-1, keepdim=True) * second
            third = nn.functional.normalize(third, dim=-1)
        return self.net(centred @ torch.stack([first, second, third], -1), mask)


class DetachedFrame(Fault):
    """The N-body code of frame averaging detaches its frames: then −∂E/∂x is not what autograd returns."""

    def __init__(self, broken: bool = True) -> None:
        super().__init__(broken, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        x = x if x.requires_grad else x.requires_grad_()
        centred, axes = self.axes(x, mask)
        frame = self.skewed(centred, axes)
        energy = self.net(centred @ (frame.detach() if self.broken else frame), mask)[:, 0]
        forces = -torch.autograd.grad(energy.sum(), x, create_graph=True)[0]
        return {"energy": energy, "forces": forces}


class MeanOverCoordinates(Fault):
    """SEGNN's N-body script: ``pos.mean(1)`` of [N, 3] averages x, y and z of each particle, not the particles."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        centred = x - (x.mean(-1, keepdim=True) if self.broken else mean(x, mask))
        return masked(centred * torch.tanh(centred.square().sum(-1, keepdim=True)), mask)


class InvariantFeatures(Fault):
    """Distances from the centroid, as features of points: what the leaks below are built on."""

    def features(self, x: Tensor, mask: Tensor | None) -> Tensor:
        centred = masked(x - mean(x, mask), mask)
        return torch.tanh(centred.square().sum(-1, keepdim=True) * torch.linspace(0.1, 1.0, 6).to(x))


class BatchStatistics(InvariantFeatures):
    """Normalisation with the statistics of whatever is in the batch, in evaluation, too."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        found = mean(self.features(x, mask), mask)[:, 0]
        axis = 0 if self.broken else 1
        return (found - found.mean(axis, keepdim=True)) / (found.std(axis, unbiased=False, keepdim=True) + 0.1)


class FiveParticles(InvariantFeatures):
    """Frame averaging's N-body model (model_FA.py:108) and equiadapt's: the number of nodes is 5, whatever comes."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        found = self.features(x, mask)
        groups = found.reshape(-1, 5, found.shape[-1]) if self.broken else found
        groups = groups + groups.mean(1, keepdim=True).square()
        return groups.reshape(found.shape)


class OneEigenvectorChoice(Fault):
    """PCA with whatever signs the library returns: one call of eigh, no average over signs."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        centred, axes = self.axes(x, mask)
        if self.broken:
            return self.net(centred @ axes, mask)
        signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 3).to(x)
        return torch.stack([self.net(centred @ (axes * s), mask) for s in signs]).mean(0)


class JumpingFrames(OneEigenvectorChoice):
    """Principal axes with all signs: right, but the axes of a cloud with equal moments are anything at all.

    The twin has weighted frames: one for each pair of points, of weight ‖x_i × x_j‖².
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        centred, axes = self.axes(x, mask)
        if self.broken:
            signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 3).to(x)
            return torch.stack([self.net(centred @ (axes * s), mask) for s in signs]).mean(0)
        total, weights = 0.0, 0.0
        for i in range(x.shape[1]):
            for j in range(x.shape[1]):
                if i != j:
                    a, b = centred[:, i], centred[:, j]
                    normal = torch.linalg.cross(a, b)
                    weight = normal.square().sum(-1, keepdim=True)
                    first, third = nn.functional.normalize(a, dim=-1), nn.functional.normalize(normal, dim=-1)
                    frame = torch.stack([first, torch.linalg.cross(third, first), third], -1)
                    mirrored = frame * torch.tensor([1.0, 1.0, -1.0]).to(x)
                    both = self.net(centred @ frame, mask) + self.net(centred @ mirrored, mask)
                    total, weights = total + weight * both, weights + weight
        return total / weights


class RemembersItsFrame(Fault):
    """equiadapt keeps what it knows of the last batch on the module: the next call may use it."""

    def __init__(self, broken: bool = True) -> None:
        super().__init__(broken, 3)
        self.remembered: Tensor | None = None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        centred, axes = self.axes(x, mask)
        frame = self.skewed(centred, axes)
        if self.broken:
            if self.remembered is None or self.remembered.shape != frame.shape:
                self.remembered = frame.detach()
            frame = self.remembered
        return (frame @ self.net(centred @ frame, mask)[..., None])[..., 0]


class MixesClouds(Fault):
    """A frame that is the mean of the frames of the batch: what belongs to one cloud reaches the others."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        centred = masked(x - mean(x, mask), mask)
        second = centred.transpose(1, 2) @ centred
        size = second.diagonal(dim1=1, dim2=2).sum(-1)
        size = size.mean(0, keepdim=True) if self.broken else size
        return torch.log(second.square().sum((1, 2)) / size.square())


class ChangesCharges(Fault):
    """equiadapt's N-body canonicalizer changes the charges of its caller."""

    def forward(self, x: Tensor, charges: Tensor, mask: Tensor | None = None) -> Tensor:
        total = masked(charges, mask)
        if self.broken:
            charges -= charges.mean(1, keepdim=True)
            charges += 1.0
        length = (x - mean(x, mask)).square().sum(-1)
        return (total * torch.tanh(length)).sum(1)
