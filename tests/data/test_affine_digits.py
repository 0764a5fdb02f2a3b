"""Digits, affine transformations of them, and the readers of MNIST's, affNIST's and homNIST's files."""

from __future__ import annotations

import gzip
import math
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equitools.data import (
    AFFNIST_RANGES,
    WIDE_RANGES,
    AffineRanges,
    DigitImages,
    affine_images,
    padded,
    read_affnist,
    read_homnist,
    read_idx,
    read_mnist,
    stratified_split,
    upright_digits,
)
from equitools.data.affine_digits import affine_maps, small_digits, warp
from equitools.errors import ConfigError, DataError, MissingDependencyError, ShapeError, UnknownNameError


def blobs(num: int = 6, size: int = 28, digit: int = 14) -> DigitImages:
    """Made-up digits, so that no test but one needs scikit-learn."""
    generator = torch.Generator().manual_seed(0)
    small = DigitImages(torch.rand(num, 1, 8, 8, generator=generator), torch.arange(num) % 10)
    return upright_digits(size, digit, small)


# ---- digits and maps ------------------------------------------------------------------------------------------------


def test_small_digits() -> None:
    pytest.importorskip("sklearn")
    digits = small_digits()
    assert digits.images.shape == (1797, 1, 8, 8)
    assert float(digits.images.min()) == 0
    assert float(digits.images.max()) == 1
    assert digits.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependencyError, match="pip install scikit-learn"):
        upright_digits()


@pytest.mark.parametrize(("size", "digit"), [(28, 14), (29, 14), (9, 9)])
def test_digit_is_centred(size: int, digit: int) -> None:
    images = blobs(3, size, digit).images
    assert images.shape == (3, 1, size, size)
    rows = (images.amax((0, 1, 3)) > 0).nonzero().flatten()
    assert abs(int(rows[0]) - (size - 1 - int(rows[-1]))) <= 1
    assert len(rows) == digit
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    with pytest.raises(ConfigError):
        blobs(1, 8, 9)


def test_parts_are_disjoint_and_shares_are_equal() -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[
        torch.randperm(100, generator=torch.Generator().manual_seed(3))
    ]
    first, second = stratified_split(labels, 20, seed=1)
    assert sorted(first.tolist() + second.tolist()) == list(range(100))
    assert (labels[second].bincount() - torch.tensor([10, 6, 4])).abs().max() <= 1
    again = stratified_split(labels, 20, seed=1)[1]
    assert torch.equal(second, again)
    assert not torch.equal(second, stratified_split(labels, 20, seed=2)[1])
    assert [len(part) for part in stratified_split(labels, 0)] == [100, 0]
    with pytest.raises(ConfigError):
        stratified_split(labels, 101)


def test_quarter_turns_are_exact() -> None:
    images = blobs().images.double()
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64).expand(6, 2, 3)
    torch.testing.assert_close(warp(images, quarter), torch.rot90(images, -1, (2, 3)), atol=1e-12, rtol=0)


def test_warp_moves_what_is_at_x_to_the_image_of_x() -> None:
    images = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    images[0, 0, 20 - 5, 20 + 10] = 1.0  # x = 20/41, y = −10/41
    maps = torch.tensor([[[1.2, 0.3, 0.05], [-0.2, 0.8, -0.1]]], dtype=torch.float64)
    target = maps[0, :, :2] @ torch.tensor([20 / 41, -10 / 41], dtype=torch.float64) + maps[0, :, 2]
    found = warp(images, maps)[0, 0]
    pixels = (2 * torch.arange(41, dtype=torch.float64) + 1) / 41 - 1
    centre = torch.stack([(found.sum(0) * pixels).sum(), (found.sum(1) * pixels).sum()]) / found.sum()
    torch.testing.assert_close(centre, target, atol=1 / 41, rtol=0)
    with pytest.raises(ShapeError):
        warp(images, maps[0])


def test_digits_stay_inside() -> None:
    images = blobs(40).images
    for ranges in (AFFNIST_RANGES, AffineRanges(45.0, 0.3, (0.6, 1.0))):
        maps = affine_maps(images, ranges, torch.Generator().manual_seed(1))
        assert maps.shape == (40, 2, 3)
        assert maps.dtype == torch.float64
        large = torch.nn.functional.pad(images, (14, 14, 14, 14))  # the same pictures with more room around them
        grown = torch.cat([maps[..., :2], maps[..., 2:] / 2], -1)
        moved = warp(large.double(), grown)
        inside = moved[..., 13:-13, 13:-13].sum((1, 2, 3))  # bilinear: one pixel is blurred
        torch.testing.assert_close(inside, moved.sum((1, 2, 3)), rtol=1e-3, atol=0)
    assert float(maps[..., 2].abs().mean()) > 0.05


def test_maps_are_in_their_ranges() -> None:
    images = blobs(1).images.expand(500, -1, -1, -1)
    maps = affine_maps(images, AffineRanges(20, 0.2, (0.8, 1.2), False), torch.Generator().manual_seed(2))
    assert float(maps[..., 2].abs().max()) == 0
    # R · shear · diag(w, h): the first column is w (cos, sin), the determinant w h
    angle = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]) * 180 / math.pi
    wide = maps[:, :, 0].norm(dim=1)
    high = torch.linalg.det(maps[..., :2]) / wide
    shear = (maps[:, :, 0] * maps[:, :, 1]).sum(1) / wide / high
    for values, low, top in ((angle, -20, 20), (wide, 0.8, 1.2), (high, 0.8, 1.2), (shear, -0.2, 0.2)):
        assert low - 1e-9 <= float(values.min()) < low + 0.05 * (top - low)
        assert top - 0.05 * (top - low) < float(values.max()) <= top + 1e-9
    nothing = affine_maps(images[:3], AFFNIST_RANGES.scaled(0.0))
    torch.testing.assert_close(nothing, torch.eye(2, 3, dtype=torch.float64).expand(3, 2, 3))
    assert AFFNIST_RANGES.scaled(1.0) == AFFNIST_RANGES
    assert WIDE_RANGES.scaled(0.5).scale == (0.6**0.5, 1.6**0.5)
    for wrong in ({"rotation": -1.0}, {"shear": math.nan}, {"scale": (1.2, 0.8)}, {"scale": (0.0, 1.0)}):
        with pytest.raises(ConfigError):
            AffineRanges(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ShapeError):
        affine_maps(images[0])


def test_seed_fixes_every_bit() -> None:
    digits = blobs()
    first, second, other = (affine_images(digits, copies=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.images, second.images)
    assert not torch.equal(first.images, other.images)
    assert torch.equal(first.labels, digits.labels.repeat(3))
    assert affine_images(digits.part(torch.tensor([], dtype=torch.long))).images.shape == (0, 1, 28, 28)
    with pytest.raises(ConfigError):
        affine_images(digits, copies=0)


# ---- MNIST ----------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist(folder: Path, num: int = 5, gzipped: bool = False, split: str = "t10k") -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (num, 28, 28), np.uint8)
    for name, array in (("images-idx3", images), ("labels-idx1", np.arange(num, dtype=np.uint8))):
        path, raw = folder / f"{split}-{name}-ubyte", idx(array)
        if gzipped:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(raw))
        else:
            path.write_bytes(raw)
    return images


@pytest.mark.parametrize("gzipped", [False, True])
def test_mnist(tmp_path: Path, gzipped: bool) -> None:
    images = mnist(tmp_path, gzipped=gzipped)
    digits = read_mnist(tmp_path, "test", whole=False)
    torch.testing.assert_close(digits.images[:, 0] * 255, torch.from_numpy(images).float())
    assert digits.labels.tolist() == list(range(5))
    large = padded(digits)
    assert large.images.shape == (5, 1, 40, 40)
    torch.testing.assert_close(large.images[..., 6:34, 6:34], digits.images)
    assert float(large.images.sum()) == pytest.approx(float(digits.images.sum()))
    with pytest.raises(DataError, match="10000 pictures"):
        read_mnist(tmp_path, "test")
    with pytest.raises(DataError, match="no file train-images"):
        read_mnist(tmp_path, "train")
    with pytest.raises(UnknownNameError):
        read_mnist(tmp_path, "tset")
    with pytest.raises(DataError, match="do not fit"):
        padded(digits, 20)


def test_damaged_idx_files(tmp_path: Path) -> None:
    good = idx(np.zeros((2, 3), np.uint8))
    torch.testing.assert_close(read_idx(_written(tmp_path, good)), torch.zeros(2, 3, dtype=torch.uint8))
    cases = {
        "begins with": [b"", b"\0\0\x09\x01", b"PK\x03\x04", good[1:]],
        "within its header": [good[:9]],
        "it has": [good[:-1], good + b"\0", idx(np.zeros((2, 3), np.uint8))[:4] + b"\xff" * 8 + bytes(6)],
        "copied to its end": [gzip.compress(good)[:-9], b"\x1f\x8b\x08" + bytes(20)],
    }
    for message, raws in cases.items():
        for raw in raws:
            with pytest.raises(DataError, match=message):
                read_idx(_written(tmp_path, raw))
    with pytest.raises(DataError, match="no file"):
        read_idx(tmp_path / "absent")


def _written(folder: Path, raw: bytes) -> Path:
    (folder / "file").write_bytes(raw)
    return folder / "file"


def test_mnist_that_does_not_belong_together(tmp_path: Path) -> None:
    mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(DataError, match="belong together"):
        read_mnist(tmp_path, "test", whole=False)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.full(5, 10, np.uint8)))
    with pytest.raises(DataError, match="no digits 0 to 9, such as 10"):
        read_mnist(tmp_path, "test", whole=False)


# ---- affNIST and homNIST --------------------------------------------------------------------------------------------


def affnist(path: Path, num: int = 7, **changes: Any) -> np.ndarray:
    images = np.random.default_rng(num).integers(0, 256, (num, 40, 40), np.uint8)
    labels = (np.arange(num) % 10).astype(np.uint8)
    record = {
        "affine_matrix": np.zeros((6, num)), "human_readable_transform": np.zeros((6, num)),
        "image": images.reshape(num, 1600).T, "original_id": np.arange(num)[None],
        "label_one_of_n": np.eye(10, dtype=np.uint8)[:, labels], "label_int": labels[None],
    } | changes  # fmt: skip
    pytest.importorskip("scipy.io").savemat(path, {"affNISTdata": record})
    return images


def homnist(path: Path, num: int = 2, copies: int = 32, **changes: Any) -> np.ndarray:
    images = np.random.default_rng(num).random((num * copies, 40, 40))
    labels = np.repeat(np.arange(num, dtype=np.float64), copies)
    record = {"img_data": images, "labels": labels, "hom_matrices": np.zeros((num * copies, 3, 3))} | changes
    pytest.importorskip("scipy.io").savemat(path, record, oned_as="column")
    return images


def test_affnist(tmp_path: Path) -> None:
    first, second = affnist(tmp_path / "1.mat"), affnist(tmp_path / "2.mat", 1)
    digits = read_affnist([tmp_path / "1.mat", tmp_path / "2.mat"], count=8)
    torch.testing.assert_close(digits.images[:, 0] * 255, torch.from_numpy(np.concatenate([first, second])).float())
    assert digits.labels.tolist() == [*range(7), 0]
    with pytest.raises(DataError, match="320000 pictures were expected"):
        read_affnist(tmp_path / "1.mat", count=320_000)
    with pytest.raises(DataError, match="No file"):
        read_affnist([])


def test_homnist(tmp_path: Path) -> None:
    images = homnist(tmp_path / "homNIST_test.mat")
    digits = read_homnist(tmp_path / "homNIST_test.mat")
    torch.testing.assert_close(digits.images[:, 0], torch.from_numpy(images).float())
    assert digits.labels.tolist() == [0] * 32 + [1] * 32
    homnist(tmp_path / "one.mat", 1, 1)
    assert read_homnist(tmp_path / "one.mat", copies=1).images.shape == (1, 1, 40, 40)


@pytest.mark.parametrize(
    ("write", "changes", "message"),
    [
        (affnist, {"image": np.zeros((784, 7), np.uint8)}, "affNIST's are"),
        (affnist, {"image": np.zeros((1600, 7), np.uint8)}, "empty"),
        (affnist, {"label_int": np.arange(6, dtype=np.uint8)[None]}, "affNIST's are"),
        (affnist, {"label_int": np.full((1, 7), 3, np.uint8)}, "contradict"),
        (homnist, {"img_data": np.full((64, 40, 40), 255.0)}, "from 255 to 255, not from 0 to 1"),
        (homnist, {"img_data": np.full((64, 40, 40), np.nan)}, "values from"),
        (homnist, {"img_data": np.zeros((64, 28, 28))}, "homNIST's are"),
        (homnist, {"labels": np.arange(64) % 10}, "32 times in a row"),
        (homnist, {"labels": np.full(64, 0.5)}, "no digits"),
        (homnist, {"hom_matrices": np.zeros((3, 3, 3))}, "hom_matrices"),
    ],
)
def test_census_of_matlab_files(
    tmp_path: Path, write: Callable[..., np.ndarray], changes: dict[str, Any], message: str
) -> None:
    write(tmp_path / "file.mat", **changes)
    with pytest.raises(DataError, match=message):
        (read_affnist if write is affnist else read_homnist)(tmp_path / "file.mat")


def test_files_of_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affnist(tmp_path / "affnist.mat")
    homnist(tmp_path / "homnist.mat")
    with pytest.raises(DataError, match="img_data"):
        read_homnist(tmp_path / "affnist.mat")
    with pytest.raises(DataError, match="affNISTdata"):
        read_affnist(tmp_path / "homnist.mat")
    raw = (tmp_path / "homnist.mat").read_bytes()
    for damaged in (raw[:3000], b"no matlab", b""):
        with pytest.raises(DataError, match="damaged"):
            read_homnist(_written(tmp_path, damaged))
    with pytest.raises(DataError, match="no file"):
        read_homnist(tmp_path / "absent.mat")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(MissingDependencyError, match="pip install scipy"):
        read_homnist(tmp_path / "homnist.mat")
