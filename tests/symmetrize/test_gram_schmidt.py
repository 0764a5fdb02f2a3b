"""Frames from vectors: orthogonal, right-handed where they must be, equivariant, and what is done with bad ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, DegenerateFrameError, ShapeError, UnknownNameError
from equitools.groups import MatrixGroup, parse_group
from equitools.symmetrize import degenerate_vectors, gram_schmidt, vectors_needed

GROUPS = [f"{letter}({d})" for letter in ("SO", "O") for d in (1, 2, 3, 4, 6)]


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sample(group: str | MatrixGroup, seed: int, *shape: int) -> Tensor:
    return parse_group(group).sample(shape, torch.Generator().manual_seed(seed))


def vectors(group: str, batch: int = 5) -> Tensor:
    return random(1, batch, vectors_needed(group), parse_group(group).n)


@pytest.mark.parametrize("group", GROUPS)
def test_equivariance(group: str) -> None:
    v, h = vectors(group), sample(group, 2, 5)
    torch.testing.assert_close(gram_schmidt(v @ h.mT, group), h @ gram_schmidt(v, group), atol=1e-12, rtol=0)


@pytest.mark.parametrize("group", GROUPS)
def test_orthogonality(group: str) -> None:
    v = vectors(group, 40)
    frame = gram_schmidt(v, group)
    assert bool(parse_group(group).contains(frame, 1e-12).all())
    if not parse_group(group).reflections:
        torch.testing.assert_close(torch.linalg.det(frame), torch.ones(40, dtype=torch.float64))
    else:
        assert {-1, 1} == set(torch.linalg.det(frame).round().int().tolist())
        torch.testing.assert_close(torch.linalg.det(frame).sign(), torch.linalg.det(v).sign())


@pytest.mark.parametrize("group", GROUPS)
def test_columns_are_those_of_a_qr_decomposition(group: str) -> None:
    v = vectors(group, 1)[0]
    q, r = np.linalg.qr(v.numpy().T)
    wanted = q * np.sign(np.diag(r)) if r.size else q
    np.testing.assert_allclose(gram_schmidt(v, group).numpy()[:, : v.shape[0]], wanted, atol=1e-12)


def test_euclidean_groups_give_the_orthogonal_part() -> None:
    v = random(0, 4, 3, 3)
    torch.testing.assert_close(gram_schmidt(v, "E(3)"), gram_schmidt(v, "O(3)"))
    torch.testing.assert_close(gram_schmidt(v[:, :2], "SE(3)"), gram_schmidt(v[:, :2], "SO(3)"))
    assert gram_schmidt(v.unflatten(0, (2, 2)), "O(3)").shape == (2, 2, 3, 3)
    assert gram_schmidt(v[:0], "O(3)").shape == (0, 3, 3)
    assert gram_schmidt(v.float(), "O(3)").dtype == torch.float32
    torch.testing.assert_close(gram_schmidt(v.mT.contiguous().mT, "O(3)"), gram_schmidt(v, "O(3)"))


def test_nearly_collinear_vectors_keep_their_digits() -> None:
    v = random(0, 3, 2, 3)
    v[:, 1] = v[:, 0] + 1e-6 * v[:, 1]
    frame = gram_schmidt(v, "SO(3)")
    torch.testing.assert_close(frame.mT @ frame, torch.eye(3).double().expand(3, 3, 3), atol=1e-14, rtol=0)


BAD = {
    "collinear": torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, 0.0]]),
    "zero": torch.zeros(3, 3),
    "first_zero": torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]),
    "tiny": torch.tensor([[1e-9, 1e-9, 0.0], [1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("group", ["SO(3)", "O(3)"])
def test_degenerate_vectors_raise_or_are_completed(name: str, group: str) -> None:
    v = BAD[name].double()[: vectors_needed(group)].repeat(2, 1, 1)
    v[0] = random(0, *v.shape[1:])
    with pytest.raises(DegenerateFrameError, match=r"1 of 2 cases"):
        gram_schmidt(v, group)
    v.requires_grad_()
    frame = gram_schmidt(v, group, degenerate="complete")
    assert bool(parse_group(group).contains(frame, 1e-12).all())
    torch.testing.assert_close(frame[0], gram_schmidt(v[0], group))
    (gradient,) = torch.autograd.grad((frame * random(5, 2, 3, 3)).sum(), v)
    assert bool(gradient.isfinite().all())
    assert float(gradient[0].abs().max()) > 0


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("group", ["SO(3)", "O(3)", "E(3)"])
def test_agrees_with_gram_schmidt(name: str, group: str) -> None:
    v = torch.cat([BAD[name].double()[None, : vectors_needed(group)], vectors(group, 3)])
    bad = degenerate_vectors(v, group)
    assert bad.tolist() == [True, False, False, False]
    gram_schmidt(v[~bad], group)
    with pytest.raises(DegenerateFrameError, match=r"1 of 1 cases"):
        gram_schmidt(v[bad], group)
    assert degenerate_vectors(v, group, floor=100.0).all()
    assert degenerate_vectors(random(0, 5, 0, 1), "SO(1)").tolist() == [False] * 5
    with pytest.raises(DegenerateFrameError, match="not finite"):
        degenerate_vectors(v / 0, group)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("group", ["SO(3)", "O(3)"])
def test_completion_is_equivariant(name: str, group: str) -> None:
    v, cloud, h = BAD[name].double()[None, : vectors_needed(group)], random(3, 1, 7, 3), sample(group, 4, 1)
    frame = gram_schmidt(v, group, degenerate="complete", completion=cloud)
    moved = gram_schmidt(v @ h.mT, group, degenerate="complete", completion=cloud @ h.mT)
    torch.testing.assert_close(moved, h @ frame, atol=1e-10, rtol=0)


@pytest.mark.parametrize("span", [0, 1, 2])
@pytest.mark.parametrize("group", ["SO(3)", "O(3)", "SO(4)"])
def test_clouds_that_are_left_in_place_by_a_rotation_have_one_canonical_pose(span: int, group: str) -> None:
    d = parse_group(group).n
    cloud = random(3, 1, 7, span) @ random(4, 1, span, d)
    v = torch.zeros(1, vectors_needed(group), d, dtype=torch.float64)
    poses = []
    for h in sample(group, 5, 3):
        moved = cloud @ h.T
        poses.append(moved @ gram_schmidt(v, group, degenerate="complete", completion=moved))
    # the last coordinate of a planar cloud in O(3) is zero, so that its sign does not matter
    for pose in poses[1:]:
        torch.testing.assert_close(pose, poses[0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("group", ["SO(2)", "O(2)", "SO(3)", "O(3)", "SO(4)"])
def test_gradients(group: str) -> None:
    v = vectors(group, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: gram_schmidt(a, group), (v,))
    assert torch.autograd.gradgradcheck(lambda a: gram_schmidt(a, group), (v,))


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match=r"made of 2 vectors.*\[\.\.\., 2, 3\], given \[5, 3, 3\]"):
        gram_schmidt(random(0, 5, 3, 3), "SO(3)")
    with pytest.raises(DegenerateFrameError, match="not finite"):
        gram_schmidt(torch.full((1, 2, 3), torch.nan), "SO(3)", degenerate="complete")
    with pytest.raises(ConfigError, match="'raise', 'complete'"):
        gram_schmidt(random(0, 5, 2, 3), "SO(3)", degenerate="average")
    with pytest.raises(ShapeError, match="completion"):
        gram_schmidt(random(0, 5, 2, 3), "SO(3)", degenerate="complete", completion=random(0, 4, 7, 3))
    with pytest.raises(UnknownNameError):
        vectors_needed("SU(2)")
