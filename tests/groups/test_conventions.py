"""Conventions: presets against scipy's harmonics, exact conversion, records."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equitools.errors import ConventionError, IrrepsError
from equitools.groups import Convention, change_of_basis
from equitools.ops.spherical_harmonics import spherical_harmonics_reference


def real_harmonics_of_wikipedia(l: int, points: np.ndarray) -> np.ndarray:
    """Orthonormal real harmonics with z polar, from scipy's complex ones (which carry the Condon–Shortley sign)."""
    from scipy.special import sph_harm_y

    theta = np.arccos(points[:, 2] / np.linalg.norm(points, axis=1))
    phi = np.arctan2(points[:, 1], points[:, 0])
    columns = []
    for m in range(-l, l + 1):
        value = sph_harm_y(l, abs(m), theta, phi) * (-1) ** m
        columns.append(value.real if m == 0 else np.sqrt(2) * (value.real if m > 0 else value.imag))
    return np.stack(columns, -1)


@pytest.mark.parametrize("name", ["wikipedia", "sphericart"])
def test_wikipedia_harmonics(name: str) -> None:
    points = np.random.default_rng(0).normal(size=(9, 3))
    ours = spherical_harmonics_reference(6, torch.from_numpy(points), normalization="integral")
    for l in range(7):
        matrix = change_of_basis("e3nn-0.5", name, f"{l}e")
        there = ours[:, l * l : (l + 1) ** 2] @ matrix.T
        np.testing.assert_allclose(there.numpy(), real_harmonics_of_wikipedia(l, points), atol=1e-12)


def test_round_trip() -> None:
    odd = Convention("odd", axes="zxy", m_order="interleaved", condon_shortley=True)
    left = Convention("left", axes="xzy")
    irreps = "2x0e + 2x1o + 3e + 2x5o"
    for a, b in (("e3nn-0.5", odd), (odd, "wikipedia"), (left, odd), ("e3nn-0.4", "e3nn-0.5")):
        there, back = change_of_basis(a, b, irreps), change_of_basis(b, a, irreps)
        torch.testing.assert_close(back @ there, torch.eye(len(there), dtype=torch.float64), atol=1e-12, rtol=0)


def test_degree_one_is_the_axis_order() -> None:
    vector = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(change_of_basis("e3nn-0.5", "wikipedia", "1o") @ vector, vector[[1, 2, 0]])
    mirrored = Convention("mirrored", axes="xzy")  # an odd order of the axes needs a reflection
    torch.testing.assert_close(mirrored.from_default(1) @ vector, vector[[0, 2, 1]])


def test_records() -> None:
    for name in ("e3nn-0.5", "e3nn-0.4", "wikipedia"):
        convention = Convention.preset(name)
        assert Convention.from_dict(convention.to_dict()) == convention
    with pytest.raises(ConventionError, match="Did you mean 'wikipedia'"):
        Convention.preset("wikipeda")
    with pytest.raises(ConventionError, match="keys"):
        Convention.from_dict({"name": "x", "polar": "z"})
    with pytest.raises(ConventionError, match="version"):
        Convention.from_dict({"name": "x", "version": 2})
    for axes in ("xyy", "", 3):
        with pytest.raises(ConventionError, match="axes"):
            Convention("x", axes=axes)
    with pytest.raises(ConventionError, match="condon_shortley"):
        Convention("x", condon_shortley="no")
    with pytest.raises(ConventionError, match="dictionary"):
        Convention.from_dict("e3nn-0.5")
    with pytest.raises(IrrepsError, match="8x0e"):
        change_of_basis("e3nn-0.5", "e3nn-0.4", "vectors")


def test_e3nn_versions_have_one_basis() -> None:
    matrix = change_of_basis("e3nn-0.4", "e3nn-0.5", "0e + 2x1o + 3e")
    torch.testing.assert_close(matrix, torch.eye(14, dtype=torch.float64), atol=1e-14, rtol=0)
    assert change_of_basis("e3nn-0.4", "wikipedia", "").shape == (0, 0)
