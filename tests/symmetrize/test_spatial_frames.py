"""The compiled way to frames in three dimensions gives what the general way gives."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import DegenerateFrameError, ShapeError
from equitools.groups import parse_group
from equitools.ops import extension_loaded, use_backend
from equitools.symmetrize import frames
from equitools.symmetrize.frames import _affine, _principal_frames
from equitools.symmetrize.spatial_frames import spatial_frames

BACKENDS = ["reference", *(["cpu"] if extension_loaded() else [])]
GROUPS = ["O(3)", "SO(3)", "E(3)", "SE(3)"]


def clouds(batch=21, points=11, dtype=torch.float64):
    x = torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.4
    x[0, : points // 2] = x[0, : points // 2].flip(0)
    return x.to(dtype)


def mirrored(x):
    """Clouds whose third moments vanish: two of them, one about its centroid only."""
    x = x.clone()
    half = x.shape[1] // 2
    for row, centre in ((3, 0.0), (5, 0.5)):
        x[row, half : 2 * half] = 2 * centre - x[row, :half]
        x[row, 2 * half :] = centre
    return x


def operator(elements, weights):
    """Return Σ w g ⊗ g ⊗ g, which depends on the set and not on its order, nor on elements of weight 0."""
    return torch.einsum("bf,bfij,bfkl,bfmn->bijklmn", weights, elements, elements, elements)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("canonical", [False, True])
@pytest.mark.parametrize("name", GROUPS)
def test_equals_the_general_way(name, canonical, masked, backend):
    group, x = parse_group(name), mirrored(clouds())
    mask = None
    if masked:
        mask = torch.arange(11).expand(21, 11) < 10
        x = x.masked_fill(~mask.unsqueeze(-1), torch.nan)
    given = x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)
    with use_backend(backend):
        found = spatial_frames(x, mask, group, canonical=canonical)
        axes, bad, elements, weights = _principal_frames(given, mask, group, canonical, None)
    assert found.bad is None
    assert not bad.any()
    elements = _affine(elements, axes.mean, group)
    torch.testing.assert_close(operator(found.elements, found.weights), operator(elements, weights), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.weights.sum(1), torch.ones(21, dtype=torch.float64))
    if canonical:
        assert found.elements.shape[1] == int((weights > 0).sum(1).max()) > 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_equal_the_general_way(backend):
    group, grads = parse_group("SE(3)"), []
    for compiled in (True, False):
        x = clouds().requires_grad_()
        with use_backend(backend):
            if compiled:
                _, _, elements, weights = spatial_frames(x, None, group, canonical=True)
            else:
                axes, _, elements, weights = _principal_frames(x, None, group, True, None)
                elements = _affine(elements, axes.mean, group)
            first = torch.autograd.grad(operator(elements, weights).square().sum(), x, create_graph=True)[0]
            grads.append((first.detach(), torch.autograd.grad(first[:, 0].square().sum(), x)[0]))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8 * float(b.abs().max()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["full", "canonical", "sample"])
def test_a_degenerate_cloud_among_others(mode, backend):
    """The others keep the frames that they have alone; its gradient is finite."""
    x = clouds(6, 8)
    x[2] = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=torch.float64)
    group, rest = "SE(3)", torch.tensor([0, 1, 3, 4, 5])
    leaf = x.clone().requires_grad_()
    with use_backend(backend):
        assert spatial_frames(x, None, parse_group(group)).bad.tolist() == [False, False, True, False, False, False]
        together = frames(leaf, group, mode=mode, generator=torch.Generator().manual_seed(0))
        alone = frames(x[rest], group, mode=mode, generator=torch.Generator().manual_seed(0))
        with pytest.raises(DegenerateFrameError, match="Cloud"):
            frames(x, group, mode=mode, degenerate="raise")
    assert together.elements.shape[-1] == 4
    if mode != "sample":
        torch.testing.assert_close(operator(*together)[rest], operator(*alone), rtol=0, atol=1e-10)
    (grad,) = torch.autograd.grad(together.elements.sum(), leaf)
    assert grad.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("group", GROUPS)
def test_bad_input_and_nothing(group, backend):
    x = clouds()
    with use_backend(backend):
        assert frames(x[:0], group, mode="canonical").elements.shape[:2] == (0, 1)
        x[4, 1, 1] = torch.inf
        with pytest.raises(ShapeError, match="not finite"):
            frames(x, group)
        with pytest.raises(DegenerateFrameError, match="third moments"):
            frames(mirrored(clouds()), group, mode="canonical", degenerate="raise")
