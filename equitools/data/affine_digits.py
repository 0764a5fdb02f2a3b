"""Digits and affine transformations of them: train on what stands upright, test on what does not.

The digits are those of scikit-learn (8 × 8 pixels, 1797 of them, no download), made larger and put into the middle of
an empty picture, with the same share of empty space as MNIST's digits have in affNIST's pictures. Readers for the files
of MNIST, affNIST and homNIST, where a user has them, are in `equitools.data.digit_files`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, MissingDependencyError, ShapeError

__all__ = [
    "AFFNIST_RANGES",
    "WIDE_RANGES",
    "AffineRanges",
    "DigitImages",
    "affine_images",
    "affine_maps",
    "small_digits",
    "stratified_split",
    "upright_digits",
    "warp",
]


class DigitImages(NamedTuple):
    """Pictures of digits.

    Attributes:
        images: ``[N, 1, H, W]``, 0 for empty and 1 for ink.
        labels: int64 ``[N]``, 0 to 9.
    """

    images: Tensor
    labels: Tensor

    def part(self, index: Tensor) -> DigitImages:
        """Return those of an index ``[M]``."""
        return DigitImages(self.images[index], self.labels[index])


@dataclass(frozen=True)
class AffineRanges:
    """What affine maps are drawn from, each uniformly: x ↦ R(rotation) · shear · scaling · x + translation.

    Attributes:
        rotation: Degrees, to either side.
        shear: Largest tangent, to either side.
        scale: Smallest and largest factor, of width and of height on their own.
        translation: Whether to move, as far as the digit stays inside of the picture.
    """

    rotation: float = 20.0
    shear: float = 0.2
    scale: tuple[float, float] = (0.8, 1.2)
    translation: bool = True

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 <= self.rotation <= 180 or not 0 <= self.shear < math.inf or not 0 < low <= high < math.inf:
            raise ConfigError(
                f"Ranges need a rotation in [0, 180], a shear ≥ 0 and 0 < smallest ≤ largest scale; they are {self}."
            )

    def scaled(self, strength: float) -> AffineRanges:
        """Return the ranges with another strength: 0 leaves all as it is, 1 are these; scales are so in logarithm."""
        if not 0 <= strength < math.inf:
            raise ConfigError(f"A strength must be ≥ 0 and finite, it is {strength!r}.")
        low, high = (factor**strength for factor in self.scale)
        return AffineRanges(
            strength * self.rotation, strength * self.shear, (low, high), self.translation and strength > 0
        )


#: The ranges of affNIST, as recalled from its page (T. Tieleman, www.cs.toronto.edu/~tijmen/affNIST).
AFFNIST_RANGES = AffineRanges()
#: Wider ones, ours: what GL⁺(2) has and affNIST has little of.
WIDE_RANGES = AffineRanges(rotation=45.0, shear=0.5, scale=(0.6, 1.6))


def small_digits() -> DigitImages:
    """Return scikit-learn's digits as they are: 1797 pictures of 8 × 8 pixels.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError(
            "The small digits come with scikit-learn, which is not installed: pip install scikit-learn."
        ) from error
    found = load_digits()
    images = torch.from_numpy(found.images / 16.0).float().unsqueeze(1)
    return DigitImages(images, torch.from_numpy(found.target).long())


def upright_digits(size: int = 28, digit: int = 14, digits: DigitImages | None = None) -> DigitImages:
    """Make pictures with a digit in the middle.

    Args:
        size: Pixels of an edge of the picture.
        digit: Pixels of an edge of the digit's box, to which it is enlarged (bicubic, clamped to [0, 1]).
        digits: Where they come from; by default `small_digits`.

    Returns:
        `DigitImages` of ``size`` × ``size`` pixels.

    Raises:
        ConfigError: The digit does not fit.
        MissingDependencyError: scikit-learn is needed and not installed.

    Properties:
        digit_is_centred: what is left empty at opposite edges differs by at most one pixel.
    """
    if not 1 <= digit <= size:
        raise ConfigError(f"A digit of {digit} pixels does not fit into a picture of {size}.")
    digits = small_digits() if digits is None else digits
    enlarged = torch.nn.functional.interpolate(
        digits.images, size=(digit, digit), mode="bicubic", align_corners=False
    ).clamp(0, 1)
    before = (size - digit) // 2
    after = size - digit - before
    return DigitImages(torch.nn.functional.pad(enlarged, (before, after, before, after)), digits.labels)


def stratified_split(labels: Tensor, num: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Split into two parts with equal shares of the classes.

    Args:
        labels: ``[N]``.
        num: Size of the second part.
        seed: Another seed makes another split.

    Returns:
        Two sorted indices, of ``N − num`` and of ``num``.

    Raises:
        ConfigError: ``num`` is out of range.

    Properties:
        parts_are_disjoint: each index is in exactly one part.
        shares_are_equal: a class has its share of the second part, up to one.
    """
    if not 0 <= num <= len(labels):
        raise ConfigError(f"Of {len(labels)} examples {num} cannot be split off.")
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    rank = torch.zeros(len(labels), dtype=torch.float64)
    for label in labels.unique():
        of_class = shuffled[labels[shuffled] == label]
        # where each example stands in its class, 0 to 1; the lowest `num` of all make the part
        rank[of_class] = (torch.arange(len(of_class), dtype=torch.float64) + 0.5) / len(of_class)
    order = shuffled[rank[shuffled].argsort(stable=True)]
    return order[num:].sort().values, order[:num].sort().values


def affine_maps(
    images: Tensor, ranges: AffineRanges = AFFNIST_RANGES, generator: torch.Generator | None = None
) -> Tensor:
    """Draw an affine map for each picture.

    Args:
        images: ``[N, C, H, W]``, square; the translation depends on where there is ink.
        ranges: What is drawn from.
        generator: Source of randomness, on the CPU.

    Returns:
        ``[N, 2, 3]`` float64: linear part and translation, in coordinates from −1 to 1 over the picture, x to the right
        and y downwards.

    Raises:
        ShapeError: These are no square pictures.

    Properties:
        digits_stay_inside: with translation, the box of the ink ends inside of the picture wherever it fits at all.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise ShapeError(f"Square pictures [N, C, H, H] are needed, given {list(images.shape)}.")
    num = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(num, generator=generator, dtype=torch.float64)

    angle = uniform(-ranges.rotation, ranges.rotation) * math.pi / 180
    shear = uniform(-ranges.shear, ranges.shear)
    wide, high = uniform(*ranges.scale), uniform(*ranges.scale)
    cosine, sine, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    turn = torch.stack([cosine, -sine, sine, cosine], -1).view(num, 2, 2)
    slant = torch.stack([one, shear, zero, one], -1).view(num, 2, 2)
    linear = turn @ slant @ torch.diag_embed(torch.stack([wide, high], -1))
    place = torch.stack([uniform(0, 1), uniform(0, 1)], -1)
    move = torch.zeros(num, 2, dtype=torch.float64)
    if ranges.translation and num:
        corners = _ink_corners(images) @ linear.transpose(-1, -2)
        low_room, high_room = -1 - corners.amin(1), 1 - corners.amax(1)
        fits = low_room <= high_room
        move = torch.where(fits, low_room + place * (high_room - low_room), (low_room + high_room) / 2)
    return torch.cat([linear, move.unsqueeze(-1)], -1)


def _ink_corners(images: Tensor) -> Tensor:
    """Corners ``[N, 4, 2]`` of the box of what is not empty, (x, y) in [−1, 1]; the whole picture where all is."""
    size = images.shape[-1]
    ink = images.amax(1) > 0
    boxes = []
    for axis in (1, 2):  # the columns that have ink, then the rows
        has = ink.any(axis)
        first = has.int().argmax(1)
        last = size - 1 - has.flip(1).int().argmax(1)
        boxes.append(torch.stack([2 * first / size - 1, 2 * (last + 1) / size - 1], -1).double())
    x, y = boxes
    return torch.stack([torch.stack([x[:, i], y[:, j]], -1) for i in (0, 1) for j in (0, 1)], 1)


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Move pictures by affine maps: the new picture at A x + b is the old one at x (bilinear, empty outside).

    Args:
        images: ``[N, C, H, W]``.
        maps: ``[N, 2, 3]`` as of `affine_maps`.

    Returns:
        ``[N, C, H, W]``.

    Raises:
        ShapeError: Shapes do not fit.

    Properties:
        quarter_turns_are_exact: a turn by 90° permutes the pixels of a square picture.
    """
    if images.ndim != 4 or maps.shape != (len(images), 2, 3):
        raise ShapeError(
            f"Pictures [N, C, H, W] and maps [N, 2, 3] are needed: {list(images.shape)}, {list(maps.shape)}."
        )
    if not images.numel():
        return images.clone()
    inverse = torch.linalg.inv(maps[..., :2])
    back = torch.cat([inverse, -inverse @ maps[..., 2:]], -1).to(images)
    grid = torch.nn.functional.affine_grid(back, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images, grid, align_corners=False)


def affine_images(
    digits: DigitImages, ranges: AffineRanges = AFFNIST_RANGES, copies: int = 1, seed: int = 0
) -> DigitImages:
    """Transform each picture ``copies`` times by maps of its own.

    Args:
        digits: Upright ones.
        ranges: What the maps are drawn from.
        copies: Of each picture; copy after copy of the whole set.
        seed: Of the maps.

    Returns:
        `DigitImages`, ``copies`` · N of them.

    Raises:
        ConfigError: ``copies`` is below 1.

    Properties:
        seed_fixes_every_bit: the same arguments give the same pictures on the same machine with the same torch.
    """
    if copies < 1:
        raise ConfigError(f"copies must be ≥ 1, it is {copies}.")
    generator = torch.Generator().manual_seed(seed)
    images = digits.images.repeat(copies, 1, 1, 1)
    return DigitImages(warp(images, affine_maps(images, ranges, generator)), digits.labels.repeat(copies))
