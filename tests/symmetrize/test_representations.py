"""How elements act on declared representations."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SE, E, Irreps, O, irreps_matrix
from equitools.symmetrize import act, fold, frames, inverse, parse_representation, unfold

CASES = [
    ("points", (7, 3)),
    ("points", (7, 4, 3)),
    ("points", (3,)),
    ("vector", (7, 3)),
    ("vector", (5, 2, 3)),
    ("vector", (3,)),
    ("pseudovector", (7, 3)),
    ("scalar", (7, 5)),
    ("scalar", ()),
    ("pseudoscalar", (4,)),
    ("tensor2", (7, 3, 3)),
    ("tensor3", (3, 3, 3)),
    ("pseudotensor2", (3, 3)),
    ("2x0e+1x1o+1x2e+1x3o", (6, 17)),
    (Irreps("1x1e"), (3,)),
]


@pytest.mark.parametrize(("rep", "shape"), CASES)
@pytest.mark.parametrize("group", [O(3), E(3)])
def test_action(group, rep, shape):
    g, h = group.sample((4,)), group.sample((4,))
    value = torch.randn(4, *shape, dtype=torch.float64)
    assert torch.allclose(act(g @ h, value, rep), act(g, act(h, value, rep), rep), atol=1e-12)
    assert torch.allclose(act(inverse(g), act(g, value, rep), rep), value, atol=1e-12)
    assert act(g, value, rep).shape == value.shape


def test_oracles():
    g = E(3).sample((2,))
    q, t = g[:, :3, :3], g[:, :3, 3]
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    assert torch.allclose(act(g, x, "points"), torch.einsum("bij,bnj->bni", q, x) + t[:, None])
    assert torch.allclose(act(g, x, "vector"), torch.einsum("bij,bnj->bni", q, x))
    a, b = torch.randn(2, 2, 5, 3, dtype=torch.float64)
    cross = torch.linalg.cross(act(g, a, "vector"), act(g, b, "vector"))
    assert torch.allclose(cross, act(g, torch.linalg.cross(a, b), "pseudovector"))
    tensor = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    assert torch.allclose(act(g, tensor, "tensor3"), torch.einsum("bia,bjc,bkd,bacd->bijk", q, q, q, tensor))
    features = torch.randn(2, 5, 8, dtype=torch.float64)
    wanted = torch.einsum("bij,bnj->bni", irreps_matrix("1x1o+1x2e", q), features)
    assert torch.allclose(act(g, features, "1x1o+1x2e"), wanted)


def test_fold_and_unfold_are_inverse():
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    found = frames(x, "SE(3)")
    for rep, shape in CASES:
        value = torch.randn(3, *shape, dtype=torch.float64)
        folded = fold(value, found.elements, rep)
        assert folded.shape == (12, *shape)
        assert torch.allclose(unfold(folded, *found, rep), value, atol=1e-12)
    poses = fold(x, found.elements, "points").unflatten(0, (3, 4))
    assert torch.allclose(poses[1, 2], (x[1] - found.elements[1, 2, :3, 3]) @ found.elements[1, 2, :3, :3])
    table = torch.arange(5)
    assert fold(table, found.elements, "shared") is table


def test_general_matrices():
    # a similarity with a scale, as learned canonicalizers return it
    g = SE(3).sample((3,))
    g[:, :3, :3] *= 1.7
    x = torch.randn(3, 5, 3, dtype=torch.float64)
    assert torch.allclose(act(inverse(g), act(g, x, "points"), "points"), x)
    with pytest.raises(ShapeError, match="singular"):
        inverse(torch.zeros(2, 3, 3))
    with pytest.raises(ShapeError, match="square"):
        inverse(torch.zeros(2, 3, 4))


def test_inverse_of_a_tiny_translation_is_affine():
    g = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    g[:, 0, 3] = 1e-17
    assert bool((inverse(g)[:, 3] == torch.tensor([0.0, 0, 0, 1], dtype=torch.float64)).all())


def test_degree():
    assert [parse_representation(r).degree for r in ("scalar", "points", "vector", "tensor3", "2x0e+1x4e")] == [
        0,
        1,
        1,
        3,
        4,
    ]


def test_bad_input():
    g = O(3).sample((2,))
    with pytest.raises(ConfigError, match="Did you mean 'vector'"):
        parse_representation("vectr")
    with pytest.raises(ConfigError, match="not known"):
        parse_representation(3.5)
    with pytest.raises(ShapeError, match="length"):
        act(g, torch.zeros(2, 5, 2, dtype=torch.float64), "points")  # not homogeneous matrices of the plane
    with pytest.raises(ShapeError, match="rank 2"):
        act(g, torch.zeros(2, 5, 3, dtype=torch.float64), "tensor2")
    with pytest.raises(ShapeError, match="Irreps"):
        act(g, torch.zeros(2, 5, dtype=torch.float64), "2x1o")
    with pytest.raises(ShapeError, match="act on a value"):
        act(g, torch.zeros(3, 3, dtype=torch.float64), "vector")
    with pytest.raises(ShapeError, match="one row"):
        fold(torch.zeros(3, 3), g[:, None], "scalar")
    with pytest.raises(ShapeError, match="first axis"):
        unfold(torch.zeros(3, 3), g[:, None], torch.ones(2, 1), "scalar")
