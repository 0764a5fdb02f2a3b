"""Representations that are known by the matrices of a group's generators only."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.generators import Generators
from equitools.groups.matrix_functions import matrix_log
from equitools.groups.representations import Rep

__all__ = ["ImageRep"]


class ImageRep(Rep):
    """A representation that is known on generators only; see `Rep.from_images`.

    Other elements are looked up in a finite group that the discrete generators generate, or found by their logarithm.
    """

    def __init__(self, group: Generators, algebra: Tensor, discrete: Tensor, name: str) -> None:
        whole = group.elements is not None and len(discrete) == len(group.elements) != len(group.discrete)
        wanted = len(group.elements) if whole and group.elements is not None else len(group.discrete)
        sizes = {m.shape[-1] for m in (algebra, discrete) if len(m)}
        if len(algebra) != len(group.algebra) or len(discrete) != wanted or len(sizes) > 1:
            raise ShapeError(
                f"{group.name} has {len(group.algebra)} algebra and {len(group.discrete)} discrete generators; given "
                f"are {len(algebra)} and {len(discrete)} matrices, of sizes {sorted(sizes)}."
            )
        self.group, self.dim, self.name = group, sizes.pop() if sizes else 1, name
        empty = torch.zeros(0, self.dim, self.dim, dtype=torch.float64)
        self._lie = algebra if len(algebra) else empty
        known = group.elements if whole and group.elements is not None else group.discrete
        self._known, self._sent = known, discrete if len(discrete) else empty
        digest = hashlib.sha256(self._lie.numpy().tobytes() + self._sent.contiguous().numpy().tobytes()).hexdigest()
        self.key = ("images", self.dim, digest)
        self._check_brackets()
        self._check_conjugation()
        if not len(group.algebra):
            self._known, self._sent = _close(known, self._sent, name)

    def _check_brackets(self) -> None:
        lie = self.group.algebra
        if len(lie) < 2:
            return
        bracket = lie[:, None] @ lie - lie @ lie[:, None]
        coordinates = _coordinates(bracket, lie)
        wanted = torch.einsum("ijk,kab->ijab", coordinates, self._lie)
        found = self._lie[:, None] @ self._lie - self._lie @ self._lie[:, None]
        if float((found - wanted).abs().max()) > 1e-8 * max(1.0, float(self._lie.abs().max()) ** 2):
            raise ConfigError(f"{self.name}: the matrices of the algebra do not commute as the generators do.")

    def _check_conjugation(self) -> None:
        """What a discrete element does to the algebra by conjugation, its matrix does to the algebra's matrices."""
        lie = self.group.algebra
        if not len(lie):
            return
        for h, image in zip(self._known, self._sent, strict=True):
            wanted = torch.einsum("kl,lab->kab", _coordinates(h @ lie @ torch.linalg.inv(h), lie), self._lie)
            if float((image @ self._lie - wanted @ image).abs().max()) > 1e-8 * max(1.0, float(self._lie.abs().max())):
                raise ConfigError(f"{self.name}: the discrete matrices do not turn the algebra as the elements do.")

    def _matrix(self, g: Tensor) -> Tensor:
        flat = g.reshape(-1, self.group.size, self.group.size).double()
        if len(flat) == 0:
            return g.new_zeros((*g.shape[:-2], self.dim, self.dim))
        out = torch.zeros(len(flat), self.dim, self.dim, dtype=torch.float64)
        near = torch.cdist(flat.flatten(1), self._known.flatten(1), compute_mode="donot_use_mm_for_euclid_dist") \
            if len(self._known) else torch.full((len(flat), 1), math.inf)  # fmt: skip
        distance, index = near.min(1)
        looked = distance < 1e-5
        if bool(looked.any()):
            out[looked] = self._sent[index[looked]]
        if not bool(looked.all()):
            coordinates = _algebra_coordinates(flat[~looked], self.group.algebra)
            if coordinates is None:
                raise ConfigError(
                    f"{self.name} is known by its generators only, and an element is neither one of them nor the "
                    "exponential of the algebra. Give the representation as a function of the matrix, or the element "
                    "as a product."
                )
            out[~looked] = torch.matrix_exp(torch.einsum("gk,kij->gij", coordinates, self._lie))
        return out.to(g).reshape(*g.shape[:-2], self.dim, self.dim)

    def _algebra(self, x: Tensor) -> Tensor:
        return torch.einsum("...k,kij->...ij", _coordinates(x, self.group.algebra.to(x)), self._lie.to(x))

    def _restrict(self, group: Generators) -> Rep:
        return ImageRep(group, self._algebra(group.algebra), self._matrix(group.discrete), self.name)


def _coordinates(x: Tensor, basis: Tensor) -> Tensor:
    """Least-squares coordinates ``[..., k]`` of matrices in a basis ``[k, n, n]``."""
    return x.flatten(-2) @ torch.linalg.pinv(basis.flatten(1)) if len(basis) else x.new_zeros((*x.shape[:-2], 0))


def _algebra_coordinates(g: Tensor, basis: Tensor) -> Tensor | None:
    """Coordinates ``[..., k]`` of the principal logarithms; None where one does not exist, or is not in the span."""
    values = torch.linalg.eigvals(g)
    if not len(basis) or bool(((values.real <= 0) & (values.imag.abs() < 1e-6)).any()):
        return None
    lie = matrix_log(g)
    coordinates = _coordinates(lie, basis)
    again = torch.einsum("...k,kij->...ij", coordinates, basis)
    return coordinates if float((again - lie).abs().max()) <= 1e-6 else None


def _close(known: Tensor, sent: Tensor, name: str, limit: int = 4096) -> tuple[Tensor, Tensor]:
    """Close up a finite group and its images under products; the generators come first."""
    size, dim = known.shape[-1], sent.shape[-1]
    elements, images = torch.eye(size, dtype=torch.float64)[None], torch.eye(dim, dtype=torch.float64)[None]
    fresh = (elements, images)
    while len(fresh[0]):
        pairs = [(known[:, None] @ fresh[0]).flatten(0, 1), (sent[:, None] @ fresh[1]).flatten(0, 1)]
        new_elements: list[Tensor] = []
        new_images: list[Tensor] = []
        for g, image in zip(*pairs, strict=True):
            everything = torch.cat([elements, torch.stack(new_elements)]) if new_elements else elements
            distance = (everything - g).abs().amax((1, 2))
            at = int(distance.argmin())
            if float(distance[at]) < 1e-6:
                other = images[at] if at < len(images) else new_images[at - len(images)]
                if float((other - image).abs().max()) > 1e-6:
                    raise ConfigError(f"{name}: the matrices do not multiply as the elements do: no representation.")
            else:
                new_elements.append(g)
                new_images.append(image)
        if not new_elements:
            break
        fresh = (torch.stack(new_elements), torch.stack(new_images))
        elements, images = torch.cat([elements, fresh[0]]), torch.cat([images, fresh[1]])
        if len(elements) > limit:
            raise ConfigError(
                f"{name}: the elements generate more than {limit}; the group is not finite, or too large."
            )
    return elements, images
