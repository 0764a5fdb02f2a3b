"""Principal axes of clouds: numpy as oracle, derivatives by differences, masks, what they are like, signs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equitools.errors import ShapeError
from equitools.ops import examined_axes, extension_loaded, principal_axes, signed_axes, use_backend
from equitools.ops.principal_axes import NOT_FINITE, OPEN, POSITIVE, REPEATED

BACKENDS = ["reference", *(["cpu"] if extension_loaded() else [])]
DTYPES = [torch.float32, torch.float64]

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def cloud(batch, points, dtype=torch.float64, seed=0):
    """Clouds with three different extents, away from the origin, in float32's own numbers."""
    x = random(batch, points, 3, seed=seed) * torch.tensor([1.0, 2.0, 3.5], dtype=torch.float64) + 0.7
    return x.float().to(dtype)


def some(batch, points, seed=5):
    mask = torch.rand(batch, points, generator=torch.Generator().manual_seed(seed)) < 0.6
    if batch > 2:
        mask[1] = False
    return mask


def oracle(x, mask, centred):
    """Mean, eigenvalues and eigenvectors (up to signs) of one cloud."""
    real = x[mask].double().numpy()
    if not len(real):
        return np.zeros(3), np.zeros(3), np.eye(3)
    mean = real.mean(0) if centred else np.zeros(3)
    return mean, *np.linalg.eigh((real - mean).T @ (real - mean))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("batch", "points"), [(0, 4), (1, 1), (3, 2), (5, 0), (16, 32), (37, 9), (3, 128), (19, 129), (2, 1000)]
)
def test_equals_its_definition(backend, batch, points, centred, dtype):
    x = cloud(batch, points, dtype)
    for mask in (None, some(batch, points)):
        given = x if mask is None else x.masked_fill(~mask.unsqueeze(-1), torch.nan)
        with use_backend(backend):
            mean, values, vectors = principal_axes(given, mask, centred)
        assert mean.dtype == values.dtype == vectors.dtype == dtype
        assert (mean.shape, values.shape, vectors.shape) == ((batch, 3), (batch, 3), (batch, 3, 3))
        tolerance = 4e-6 if dtype == torch.float32 else 1e-13
        for b in range(batch):
            real = torch.ones(points, dtype=torch.bool) if mask is None else mask[b]
            m, w, v = oracle(x[b], real, centred)
            np.testing.assert_allclose(mean[b], m, rtol=0, atol=tolerance)
            np.testing.assert_allclose(values[b], w, rtol=0, atol=tolerance * max(1.0, w[2]))
            assert torch.linalg.det(vectors[b].double()) == pytest.approx(1, abs=tolerance)
            if int(real.sum()) > 30:
                np.testing.assert_allclose(np.abs((vectors[b].double().numpy() * v).sum(0)), 1, atol=10 * tolerance)
            if not real.any():
                assert torch.equal(vectors[b], torch.eye(3, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_right_handed(backend, dtype):
    with use_backend(backend):
        _, _, vectors = principal_axes(cloud(203, 7, dtype))
    torch.testing.assert_close(torch.linalg.det(vectors), torch.ones(203, dtype=dtype), rtol=0, atol=1e-5)


def test_ignores_masked_points(backend):
    x, mask = cloud(5, 8), torch.arange(8).expand(5, 8) < 6
    with use_backend(backend):
        x.requires_grad_()
        whole = principal_axes(torch.where(mask.unsqueeze(-1), x, torch.nan), mask)
        part = principal_axes(x[:, :6])
        for a, b in zip(whole, part, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        (grad,) = torch.autograd.grad(sum((t**2).sum() + t[:, 0].sum() for t in whole), x)
        (other,) = torch.autograd.grad(sum((t**2).sum() + t[:, 0].sum() for t in part), x)
    torch.testing.assert_close(grad, other, rtol=0, atol=1e-10)
    assert not grad[:, 6:].any()


def test_far_from_the_origin(backend):
    """Moments about the mean are those of the cloud, and not differences of large numbers."""
    x = cloud(20, 32).float() / 8
    moved = x + 1000.0
    with use_backend(backend):
        values, wanted = principal_axes(moved)[1], principal_axes(moved.double() - 1000.0)[1]
    assert ((values - wanted).abs() < 1e-3 * wanted[:, 2:]).all()


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients(backend, centred, masked):
    x = cloud(3, 6).requires_grad_()
    mask = None if not masked else torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1], [1] * 6], dtype=torch.bool)
    with use_backend(backend):
        assert torch.autograd.gradcheck(lambda x: principal_axes(x, mask, centred), x)
        assert torch.autograd.gradgradcheck(lambda x: principal_axes(x, mask, centred), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_equal_the_reference(backend, dtype):
    """Blocks that are not full, chunks, masks: what the small check of gradients has not seen."""
    for batch, points in ((37, 33), (5, 150)):
        x, mask = cloud(batch, points, dtype), some(batch, points)
        grads = []
        for name in ("reference", backend):
            leaf = x.clone().requires_grad_()
            with use_backend(name):
                mean, values, vectors = principal_axes(leaf, mask)
            function = (vectors * values.unsqueeze(-2).sin() @ vectors.mT)[:, 0].sum() + (mean**3).sum()
            grads.append(torch.autograd.grad(function + values.sqrt().nan_to_num().sum() / 100, leaf)[0])
        scale = float(grads[0].abs().nan_to_num().max())
        good = mask.any(1)
        assert ((grads[0] - grads[1])[good].abs() < (2e-3 if dtype == torch.float32 else 1e-9) * scale).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_finite_gradients_at_equal_eigenvalues(backend, dtype):
    corners = torch.tensor([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=dtype)
    line = torch.arange(8, dtype=dtype).unsqueeze(-1) * torch.tensor([1.0, 2.0, 3.0], dtype=dtype)
    point = torch.ones(8, 3, dtype=dtype)
    plane = corners * torch.tensor([1.0, 1.0, 0.0], dtype=dtype)
    x = torch.stack([corners, line, point, plane]).requires_grad_()
    with use_backend(backend):
        mean, values, vectors = principal_axes(x)
        (grad,) = torch.autograd.grad((mean**2).sum() + values.sum() + (vectors * random(3, 3, dtype=dtype)).sum(), x)
    assert grad.isfinite().all()


def test_what_is_not_finite_gives_nan(backend):
    x = cloud(20, 4)
    x[3, 1, 2], x[11, 0, 0], x[12, 0] = torch.nan, torch.inf, 1e200
    bad = torch.zeros(20, dtype=torch.bool)
    bad[[3, 11, 12]] = True
    with use_backend(backend):
        axes = examined_axes(x)
    assert torch.equal(axes.values.isnan().all(-1), bad)
    assert torch.equal(axes.vectors.isnan().all(-1).all(-1), bad)
    assert torch.equal((axes.state & NOT_FINITE).bool(), bad)


def test_examined_axes_know_repeated_moments(backend):
    shapes = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0], [1.0, 2.0, 2.0], [1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])
    octahedron = torch.cat([torch.eye(3), -torch.eye(3)])
    x = (octahedron * shapes.unsqueeze(1)).double() + 0.3
    x = torch.cat([x, torch.full((1, 6, 3), 1e8, dtype=torch.float64) / 3])  # one point, whose moments are rounding
    with use_backend(backend):
        state = examined_axes(x, threshold=1e-7).state
        loose = examined_axes(x[3:4], threshold=0.6).state
    found = [[bool(s & bit) for bit in REPEATED] for s in state]
    assert found == [[True, True], [True, False], [False, True], [False, False], [True, False], [True, True]]
    assert bool(loose & REPEATED[0])
    assert bool(loose & REPEATED[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("points", [12, 200])
def test_examined_axes_know_third_moments(backend, points, dtype):
    x, mask = cloud(33, points, dtype), some(33, points)
    x[0] = torch.cat([x[0, : points // 2], -x[0, : points // 2]])  # moments vanish
    mask[0], mask[2] = True, True
    x[2, :, 2] = 0.0  # a plane
    with use_backend(backend):
        axes = examined_axes(x, mask, True, 1e-4, True)
    along = ((x - axes.mean.unsqueeze(1)) @ axes.vectors).masked_fill(~mask.unsqueeze(-1), 0).double()
    moment, size = (along**3).sum(1), (along.abs() ** 3).sum(1)
    sure = moment.abs() > 1e-3 * size
    for k in range(3):
        positive, open_ = (axes.state & POSITIVE[k]).bool(), (axes.state & OPEN[k]).bool()
        flat = axes.values[:, k] <= 1e-8 * axes.values[:, 2]
        assert torch.equal(positive[sure[:, k]], moment[sure[:, k], k] > 0)
        assert not (open_ & sure[:, k] & ~flat).any()
        assert open_[0]
        assert open_[1]
    assert (axes.state[2] & OPEN[0]).bool()
    with use_backend(backend):
        assert not (examined_axes(x, mask).state & (sum(OPEN) + sum(POSITIVE))).any()


def test_signed_axes_equal_their_definition(backend):
    vectors, mean, signs = random(5, 3, 3), random(5, 3, seed=1), random(4, 3, seed=2)
    choice = torch.tensor([[3, 0], [1, 1], [2, 3], [0, 2], [2, 1]], dtype=torch.int32)
    with use_backend(backend):
        plain, moved = signed_axes(vectors, signs), signed_axes(vectors, signs, mean)
        one, chosen = signed_axes(vectors, signs, choice=choice), signed_axes(vectors, signs, mean, choice)
        assert signed_axes(vectors[:0], signs, mean[:0]).shape == (0, 4, 4, 4)
    assert torch.equal(plain, torch.stack([vectors * s for s in signs], 1))
    assert torch.equal(moved[..., :3, :3], plain)
    assert torch.equal(moved[..., :3, 3], mean.unsqueeze(1).expand(-1, 4, -1))
    assert torch.equal(moved[..., 3, :], torch.tensor([0.0, 0, 0, 1], dtype=torch.float64).expand(5, 4, 4))
    rows = torch.arange(5)
    assert torch.equal(one, plain[rows[:, None], choice.long()])
    assert torch.equal(chosen, moved[rows[:, None], choice.long()])


@pytest.mark.parametrize("choice", [None, [[1, 1], [0, 1], [1, 0]]])
def test_signed_axes_gradients(backend, choice):
    vectors, mean = random(3, 3, 3).requires_grad_(), random(3, 3, seed=1).requires_grad_()
    signs = torch.tensor([[1.0, 1, 1], [1, -1, -1]], dtype=torch.float64)
    chosen = None if choice is None else torch.tensor(choice, dtype=torch.int32)
    with use_backend(backend):
        assert torch.autograd.gradcheck(lambda v: signed_axes(v, signs, choice=chosen), vectors)
        assert torch.autograd.gradgradcheck(lambda v: signed_axes(v, signs, choice=chosen), vectors)
        assert torch.autograd.gradcheck(lambda v, m: signed_axes(v, signs, m, chosen), (vectors, mean))
        assert torch.autograd.gradgradcheck(lambda v, m: signed_axes(v, signs, m, chosen), (vectors, mean))


def test_non_contiguous_input(backend):
    x = cloud(17, 5)
    wide = torch.stack([x, x], -1)[..., 0]
    mask = some(5, 17).T
    with use_backend(backend):
        for a, b in zip(principal_axes(wide, mask), principal_axes(x, mask.contiguous()), strict=True):
            assert torch.equal(a, b)


def test_bad_input(backend):
    x = cloud(2, 4)
    with use_backend(backend):
        for bad, mask in (
            (x[0], None),
            (x[..., :2], None),
            (x.long(), None),
            (x, torch.ones(2, 4)),
            (x, torch.ones(2, 3, dtype=torch.bool)),
        ):
            with pytest.raises(ShapeError, match="principal_axes"):
                principal_axes(bad, mask)
        with pytest.raises(ShapeError, match="signed_axes"):
            signed_axes(random(2, 3, 3), random(4, 2))
        if backend == "cpu":
            with pytest.raises(RuntimeError, match="outside the table"):
                signed_axes(random(1, 3, 3), random(4, 3), choice=torch.tensor([[4]], dtype=torch.int32))


def test_compiles_to_one_graph(backend):
    x, signs = cloud(3, 5), torch.ones(1, 3, dtype=torch.float64)
    compiled = torch.compile(
        lambda x: signed_axes(principal_axes(x)[2], signs).abs().sum(), fullgraph=True, backend="eager"
    )
    with use_backend(backend):
        torch.testing.assert_close(compiled(x), signed_axes(principal_axes(x)[2], signs).abs().sum())


@pytest.mark.parametrize("order", [1, 2])
def test_batched_gradients(backend, order):
    """As torch.autograd.functional.jacobian(vectorize=True) asks for them."""
    x, signs = cloud(2, 5).requires_grad_(), torch.tensor([[1.0, -1, -1], [1, 1, 1]], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    with use_backend(backend):
        mean, values, vectors = principal_axes(x, mask)
        out = (signed_axes(vectors, signs, mean) * values.sum()).flatten()
        if order == 2:
            (out,) = torch.autograd.grad(out[:7].sum(), x, create_graph=True)
            out = out.flatten()
        rows = random(4, len(out), seed=3)
        (together,) = torch.autograd.grad(out, x, rows, is_grads_batched=True, retain_graph=True)
        one_by_one = [torch.autograd.grad(out, x, row, retain_graph=True)[0] for row in rows]
    torch.testing.assert_close(together, torch.stack(one_by_one), rtol=1e-10, atol=1e-10)
