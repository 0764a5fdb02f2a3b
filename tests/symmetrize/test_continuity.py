"""Walks through degenerate clouds: weighted frames do not jump, plain principal axes do."""

from __future__ import annotations

import pytest
import torch
from clouds import Plain

from equitools.groups import SE
from equitools.symmetrize import FrameAverage, act, frames
from equitools.testing import degenerate_clouds

CLOUDS = degenerate_clouds()
NET = Plain(8, 1, seed=3)


def jump(net, x, step=1e-8, tries=20):
    """The largest change of value and of gradient when the cloud moves by ``step`` in any direction."""
    generator = torch.Generator().manual_seed(11)
    ways = torch.randn(tries, *x.shape, generator=generator, dtype=torch.float64)
    ways = ways / ways.flatten(1).norm(dim=1)[:, None, None]
    path = torch.cat([x[None], x + step * ways]).requires_grad_()
    value = net(path)
    (gradient,) = torch.autograd.grad(value.sum(), path)
    return float((value[1:] - value[0]).detach().abs().max()), float((gradient[1:] - gradient[0]).abs().max())


@pytest.mark.parametrize("gaps", [(0.02, 0.1), None])
@pytest.mark.parametrize("group", ["SO(3)", "O(3)", "SE(3)", "E(3)"])
@pytest.mark.parametrize("name", [name for name in CLOUDS if name != "origin"])
def test_continuity(name, group, gaps):
    net = FrameAverage(NET, group, mode="weighted", gaps=gaps)
    value, gradient = jump(net, CLOUDS[name])
    assert value < 1e-6
    if name not in {"linear", "two points", "one point"}:
        assert gradient < 1e-4  # of the order of 1: continuously differentiable away from linear clouds


def one_eigh_call(x):
    """The control: principal axes as LAPACK returns them, one pose."""
    centred = x - x.mean(1, keepdim=True)
    return NET(centred @ torch.linalg.eigh(centred.mT @ centred)[1])


def all_signs(x):
    """The control with all signs: averaged, but with whatever axes LAPACK picks in a degenerate eigenspace."""
    centred = x - x.mean(1, keepdim=True)
    vectors = torch.linalg.eigh(centred.mT @ centred)[1]
    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=x.dtype)] * 3)
    return sum(NET(centred @ (vectors * sign)) for sign in signs) / 8


@pytest.mark.parametrize("control", [one_eigh_call, all_signs])
@pytest.mark.parametrize("name", ["cube", "spherical top", "symmetric top"])
def test_plain_principal_axes_jump(name, control):
    x = CLOUDS[name]
    path = torch.stack([x + 1e-8 * torch.randn_like(x) for _ in range(20)])
    value = control(path).detach()
    assert float(value.max() - value.min()) > 1e-3


def test_continuity_along_a_path():
    # a molecule that bends through the line, flattens, and becomes a symmetric top on its way
    t = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    start = torch.tensor([[0.0, 0, 0], [1.1, 0, 0], [-1.3, 0, 0], [2.0, 0, 0]], dtype=torch.float64)
    bend = torch.tensor([[0.0, 0.3, 0], [0, -0.2, 0.5], [0, 0.1, 0.4], [0, 0.6, -0.3]], dtype=torch.float64)
    path = start + t[:, None, None] ** 3 * bend
    values = FrameAverage(Plain(4, 1, seed=2), "SE(3)", mode="weighted")(path).detach().flatten()
    step = values.diff().abs()
    moved = path.diff(dim=0).flatten(1).norm(dim=1)
    assert float((step / moved.clamp_min(1e-12)).max()) < 50  # Lipschitz, through the line too
    second = values.diff().diff().abs()
    assert float(second.max()) < 0.02 * float(values.max() - values.min())


def test_equivariant_outputs_at_a_line_are_projected():
    # along the line the vector stays, perpendicular to it nothing can be equivariant: the jump is the projection
    x = CLOUDS["linear"][None]
    net = FrameAverage(Plain(8, 3, seed=4), "SO(3)", outputs="vector", mode="weighted").requires_grad_(False)
    axis = x[0, 0] / x[0, 0].norm()
    vector = net(x)[0]
    assert torch.allclose(vector, (vector @ axis) * axis, atol=1e-12)
    near = net(x + 1e-5 * torch.randn_like(x))[0]
    assert torch.allclose(near @ axis, vector @ axis, atol=1e-3)
    assert float((near - (near @ axis) * axis).norm()) > 1e-3


def test_number_of_weighted_frames_stays_small():
    x = torch.randn(50, 15, 3, dtype=torch.float64)
    used = (frames(x, "SE(3)", None, "weighted").weights > 0).sum(1).double()
    assert float(used.mean()) < 30
    everything = (frames(x, "SE(3)", None, "weighted", gaps=None, sparsity=0.0).weights > 0).sum(1).double()
    assert float(everything.mean()) > 100


def test_forces_follow_rotations():
    x = torch.stack([CLOUDS[name] for name in ("generic", "planar", "symmetric top", "cube", "linear")])
    moves = SE(3).sample((len(x),))
    net = FrameAverage(NET, "SE(3)", mode="weighted")

    def forces(points):
        points = points.clone().requires_grad_()
        return -torch.autograd.grad(net(points).sum(), points)[0]

    assert torch.allclose(forces(act(moves, x, "points")), act(moves, forces(x), "vector"), atol=1e-7)
