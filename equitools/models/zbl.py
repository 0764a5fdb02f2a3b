"""The universal screened nuclear repulsion of Ziegler, Biersack and Littmark, cut off smoothly."""

from __future__ import annotations

import torch

from equitools.models.elements import COVALENT_RADII, SYMBOLS
from equitools.ops import segment_sum

__all__ = ["BOHR", "COULOMB", "ZBLRepulsion"]

COULOMB = 14.399645478425668
"""e²/(4πε₀) in eV·Å (CODATA 2018)."""
BOHR = 0.529177210903
"""Bohr radius in Å (CODATA 2018)."""

_SCREENING = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))


class ZBLRepulsion(torch.nn.Module):
    """Short-range repulsion between nuclei, for the distances that training data do not reach.

    The energy of a pair at distance r is ``k Z_i Z_j / r · φ(r / a) · f(r / R)`` with k = `COULOMB`, the screening
    length ``a = 0.8854 a₀ / (Z_i^0.23 + Z_j^0.23)``, the universal screening function φ and the envelope
    ``f(t) = 1 − 10 t³ + 15 t⁴ − 6 t⁵``, which ends with two vanishing derivatives at R. R is the sum of the covalent
    radii, or the model's cutoff where that is shorter. Each atom gets half the energy of its pairs.

    Args:
        cutoff: Cutoff of the model's neighbour list in Å.

    Properties:
        universal_screening: well inside R a pair has the published energy times f.
        smooth_at_cutoff: energy and force vanish at R.

    References:
        J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter, Pergamon 1985, ch. 2.
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = float(cutoff)
        # Elements beyond the table (Z > 96) are given the last radius that is known.
        radii = [0.0, *COVALENT_RADII, *([COVALENT_RADII[-1]] * (len(SYMBOLS) - len(COVALENT_RADII)))]
        self._radii = torch.tensor(radii, dtype=torch.float64)

    def pair_energy(self, z1: torch.Tensor, z2: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        """Compute the energy of pairs of atoms.

        Args:
            z1: Atomic numbers ``[E]`` int64.
            z2: Atomic numbers ``[E]`` int64.
            distance: ``[E]`` in Å, positive.

        Returns:
            ``[E]`` in eV, the dtype of ``distance``.
        """
        radii = self._radii.to(distance.dtype).to(distance.device)
        reach = (radii[z1] + radii[z2]).clamp(max=self.cutoff)
        a, b = z1.to(distance.dtype), z2.to(distance.dtype)
        x = distance * (a**0.23 + b**0.23) / (0.8854 * BOHR)
        screening = sum(weight * torch.exp(-rate * x) for weight, rate in _SCREENING)
        t = (distance / reach).clamp(max=1.0)
        envelope = 1.0 + t**3 * (-10.0 + t * (15.0 - 6.0 * t))
        return COULOMB * a * b / distance * screening * envelope

    def forward(self, vectors: torch.Tensor, atomic_numbers: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        """Compute the repulsion energy of each atom.

        Args:
            vectors: Edge vectors ``[E, 3]`` in Å; each pair occurs in both directions.
            atomic_numbers: ``[N]`` int64.
            edge_index: ``[2, E]``, sender and receiver.

        Returns:
            ``[N]`` in eV, the dtype of ``vectors``.
        """
        sender, receiver = edge_index[0], edge_index[1]
        distance = torch.linalg.vector_norm(vectors, dim=-1)
        energy = self.pair_energy(atomic_numbers[sender], atomic_numbers[receiver], distance)
        return segment_sum(0.5 * energy, receiver, atomic_numbers.shape[0])
