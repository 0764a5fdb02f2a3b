"""Readers for the files of MNIST, affNIST and homNIST that a user has. Nothing is downloaded, nothing is unpickled."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equitools.data.affine_digits import DigitImages
from equitools.errors import DataError, MissingDependencyError, UnknownNameError, nearest

__all__ = ["MNIST_FILES", "padded", "read_affnist", "read_homnist", "read_idx", "read_mnist"]

#: Names of MNIST's files: of the pictures, of the labels, and how many there are.
MNIST_FILES: dict[str, tuple[str, str, int]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 60_000),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 10_000),
}
_UNSIGNED_BYTES = 0x08
_EDGE = 40
_COPIES = 32


def read_idx(path: str | os.PathLike[str]) -> Tensor:
    """Read an IDX file of unsigned bytes, plain or gzipped.

    Args:
        path: The file; whether it is gzipped is seen from its first bytes, not from its name.

    Returns:
        uint8, with as many axes as the file says.

    Raises:
        DataError: The file is missing, is no IDX file of unsigned bytes, is truncated or goes on behind its end.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read or unpacked ({error}). Was it copied to its end?") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != _UNSIGNED_BYTES or not 1 <= raw[3] <= 4:
        raise DataError(f"{path} begins with {raw[:4].hex(' ') or 'nothing'}, an IDX file of bytes with 00 00 08 0n.")
    axes = raw[3]
    start = 4 + 4 * axes
    if len(raw) < start:
        raise DataError(f"{path} ends within its header, after {len(raw)} bytes of {start}.")
    shape = struct.unpack(f">{axes}I", raw[4:start])
    size = int(np.prod(shape, dtype=object))
    if len(raw) != start + size:
        raise DataError(f"{path} says {list(shape)}, which is {start + size} bytes with the header; it has {len(raw)}.")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy())


def read_mnist(folder: str | os.PathLike[str], split: str = "train", whole: bool = True) -> DigitImages:
    """Read MNIST's pictures and labels, 28 × 28 pixels.

    Args:
        folder: Where the four files lie, with their published names, with or without ``.gz``.
        split: ``"train"`` or ``"test"``.
        whole: Refuse files with another number of pictures than the published ones.

    Returns:
        `DigitImages`; use `padded` for pictures of 40 × 40.

    Raises:
        UnknownNameError: No such split.
        DataError: A file is missing or damaged, or pictures and labels do not belong together.
    """
    if split not in MNIST_FILES:
        raise UnknownNameError(f"MNIST has no split {split!r}. {nearest(split, MNIST_FILES)}")
    *names, count = MNIST_FILES[split]
    images, labels = (read_idx(_existing(Path(folder), str(name))) for name in names)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"MNIST's {split} files in {folder} hold pictures {list(images.shape)} and labels {list(labels.shape)}; "
            "they do not belong together."
        )
    if whole and len(images) != count:
        raise DataError(
            f"MNIST's {split} set has {count} pictures, {folder} has {len(images)}. whole=False takes them."
        )
    return _checked(images.numpy(), labels.numpy(), f"MNIST's {split} set in {folder}", 255.0)


def _existing(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz", folder / name.replace("-idx", ".idx")):
        if candidate.exists():
            return candidate
    raise DataError(f"{folder} has no file {name} or {name}.gz.")


def padded(digits: DigitImages, size: int = _EDGE) -> DigitImages:
    """Put pictures into the middle of larger empty ones, as affNIST's ``just_centered`` has MNIST's.

    Raises:
        DataError: They are larger than that.
    """
    height, width = digits.images.shape[-2:]
    if max(height, width) > size:
        raise DataError(f"Pictures of {height} × {width} do not fit into {size} × {size}.")
    top, left = (size - height) // 2, (size - width) // 2
    sides = (left, size - width - left, top, size - height - top)
    return DigitImages(torch.nn.functional.pad(digits.images, sides), digits.labels)


def read_affnist(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], count: int | None = None
) -> DigitImages:
    """Read affNIST's Matlab files: ``test.mat``, or batches such as ``training_batches/1.mat``.

    The struct ``affNISTdata`` in them has the pictures as columns, ``image [1600, N]`` uint8, row after row of pixels,
    and the labels twice, ``label_int [1, N]`` and ``label_one_of_n [10, N]``, which must say the same.

    Args:
        path: A file, or several, which are read one after the other.
        count: Refuse another number of pictures.

    Returns:
        `DigitImages` of 40 × 40 pixels.

    Raises:
        DataError: A file is missing, damaged, of another form, or contradicts itself.
        MissingDependencyError: SciPy is not installed.

    Source: T. Tieleman, affNIST (www.cs.toronto.edu/~tijmen/affNIST).
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    parts = []
    for file in map(Path, paths):
        found = _matlab(file)
        record = found.get("affNISTdata")
        if not isinstance(record, dict) or not {"image", "label_int"} <= set(record):
            raise DataError(f"{file} has no struct affNISTdata with image and label_int; it has {sorted(found)}.")
        images, labels = np.asarray(record["image"]), np.asarray(record["label_int"]).reshape(-1)
        if images.ndim == 1:
            images = images[:, None]  # a single picture, which the reader has squeezed
        if images.ndim != 2 or images.shape != (_EDGE * _EDGE, len(labels)):
            raise DataError(
                f"{file} holds pictures {list(images.shape)} and {len(labels)} labels; affNIST's are "
                f"[{_EDGE * _EDGE}, N] and N."
            )
        if "label_one_of_n" in record:
            choice = np.asarray(record["label_one_of_n"]).reshape(10, -1)
            if choice.shape[1] != len(labels) or not np.array_equal(choice.argmax(0), labels):
                raise DataError(f"In {file}, label_int and label_one_of_n contradict each other.")
        parts.append(_checked(images.T.reshape(-1, _EDGE, _EDGE), labels, str(file), 255.0))
    if not parts:
        raise DataError("No file of affNIST was named.")
    whole = DigitImages(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
    if count is not None and len(whole.labels) != count:
        raise DataError(f"{count} pictures were expected, {', '.join(map(str, paths))} hold {len(whole.labels)}.")
    return whole


def read_homnist(path: str | os.PathLike[str], copies: int = _COPIES) -> DigitImages:
    """Read homNIST's test set, ``homNIST_test.mat``: digits under homographies.

    It holds ``img_data [N, 40, 40]`` in [0, 1], ``labels [N, 1]`` and ``hom_matrices [N, 3, 3]``. Each digit stands
    there ``copies`` times, one after the other, which the labels must show.

    Args:
        path: The file.
        copies: Of each digit in a row; 1 checks nothing.

    Returns:
        `DigitImages` of 40 × 40 pixels.

    Raises:
        DataError: The file is missing, damaged, of another form, or contradicts itself.
        MissingDependencyError: SciPy is not installed.

    Source: ``create_homNIST.py`` of L. E. MacDonald, S. Ramasinghe, S. Lucey, Enabling equivariance for arbitrary Lie
        groups (CVPR 2022).
    """
    path = Path(path)
    found = _matlab(path)
    if not {"img_data", "labels"} <= set(found):
        raise DataError(f"{path} has no img_data and labels; it has {sorted(found)}.")
    images, labels = np.asarray(found["img_data"]), np.asarray(found["labels"]).reshape(-1)
    if images.ndim == 2:
        images = images[None]  # a single picture, which the reader has squeezed
    if images.shape != (len(labels), _EDGE, _EDGE):
        raise DataError(
            f"{path} holds pictures {list(images.shape)} and {len(labels)} labels; homNIST's are "
            f"[N, {_EDGE}, {_EDGE}] and N."
        )
    if "hom_matrices" in found and np.asarray(found["hom_matrices"]).size != 9 * len(labels):
        raise DataError(
            f"{path} has {len(labels)} pictures, but hom_matrices {np.asarray(found['hom_matrices']).shape}."
        )
    digits = _checked(images, labels, str(path), 1.0)
    if len(labels) % copies or not np.array_equal(labels, np.repeat(labels[::copies], copies)):
        raise DataError(f"In {path}, digits do not stand {copies} times in a row as in homNIST; copies=1 takes it.")
    return digits


def _matlab(path: Path) -> dict[str, Any]:
    try:
        io: ModuleType = __import__("scipy.io", fromlist=["loadmat"])
    except ImportError as error:
        raise MissingDependencyError(
            "Matlab files are read by SciPy, which is not installed: pip install scipy."
        ) from error
    if not path.exists():
        raise DataError(f"There is no file {path}.")
    try:
        found = io.loadmat(path, simplify_cells=True)
    except Exception as error:  # SciPy raises what its parser stumbles over: any error means an unreadable file
        raise DataError(f"{path} is no Matlab file that SciPy can read, or it is damaged: {error}") from error
    return {name: value for name, value in found.items() if not name.startswith("__")}


def _checked(images: np.ndarray, labels: np.ndarray, source: str, top: float) -> DigitImages:
    """Census: labels are whole numbers from 0 to 9, and values lie between 0 and ``top``, which becomes 1."""
    if not len(labels):
        raise DataError(f"{source} holds no pictures.")
    values = labels.astype(np.float64)
    if not np.isfinite(values).all() or (values != np.round(values)).any() or values.min() < 0 or values.max() > 9:
        raise DataError(f"{source} has labels that are no digits 0 to 9, such as {labels[_first_odd(values)]}.")
    scaled = torch.from_numpy(np.ascontiguousarray(images)).float() / top
    if not bool(scaled.isfinite().all()) or float(scaled.min()) < -1e-3 or float(scaled.max()) > 1 + 1e-3:
        raise DataError(
            f"{source} has values from {float(images.min()):g} to {float(images.max()):g}, not from 0 to {top:g}."
        )
    if float(scaled.max()) == 0:
        raise DataError(f"All pictures of {source} are empty.")
    return DigitImages(scaled.clamp(0, 1).unsqueeze(1), torch.from_numpy(values.astype(np.int64)))


def _first_odd(values: np.ndarray) -> int:
    odd = ~np.isfinite(values) | (values != np.round(values)) | (values < 0) | (values > 9)
    return int(odd.argmax())
