"""An acceptance suite that every network inherits; pytest runs it.

    class TestMine(ModelAcceptance):
        def build(self):
            return Mine(MineConfig(cutoff=4.0, species=(1, 6, 8)))

A backbone is judged by its node features and, wrapped in a `Potential`, by energies, forces and stress.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from equitools.errors import EquitoolsError
from equitools.graph import Graph
from equitools.models import Backbone, Potential, load, save
from equitools.testing import checks, differences
from equitools.testing.equivariance import at_dtype, model_cutoff, model_dtype
from equitools.testing.outputs import call_options, plain_outputs
from equitools.testing.structures import Structure, build_graph, random_crystal, random_molecule

__all__ = ["ModelAcceptance", "stir"]


def stir(model: torch.nn.Module, seed: int = 0, amplitude: float = 0.1) -> torch.nn.Module:
    """Add noise to all floating parameters in place: what starts at zero (a last layer) would hide its errors.

    Args:
        model: Any module.
        seed: Same seed, same noise.
        amplitude: Standard deviation of the noise.

    Returns:
        The same module.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_((amplitude * noise).to(parameter))
    return model


class ModelAcceptance:
    """Inherit, write `build`, and pytest checks what a model of this library must keep.

    Attributes:
        claims: The group under which outputs are equivariant.
        species: Atomic numbers for test structures; the model must know them.
        periodic: Whether the model takes periodic structures.
        reference_energies: Given to `Potential` when it wraps a backbone, eV.
        stirred: Whether to add noise to the weights, so that layers that start at zero are tested, too.
    """

    claims: str = "E(3)"
    species: Sequence[int] = (1, 6, 8)
    periodic: bool = True
    reference_energies: dict[int, float] = {1: -13.6, 6: -1029.5, 8: -2042.8}  # noqa: RUF012 - read only
    stirred: bool = True

    def build(self) -> torch.nn.Module:
        """Make the model: a `Backbone`, a `Potential`, a head model, or anything that maps a graph to a dict."""
        raise EquitoolsError(f"{type(self).__name__} must define build(self) and return the model to test.")

    def dress(self, structure: Structure) -> Structure:
        """Add the extra inputs (velocities, a charge) that the model needs; override where it needs some."""
        return structure

    def molecules(self) -> list[Structure]:
        """Return three structures without a cell, of different sizes."""
        return [self.dress(random_molecule(self.species, size, seed)) for seed, size in ((1, 6), (2, 4), (3, 2))]

    def crystals(self) -> list[Structure]:
        """Return periodic structures with cells smaller than a usual cutoff; empty if `periodic` is False."""
        return [self.dress(random_crystal(self.species, 3, seed=1))] if self.periodic else []

    @pytest.fixture
    def model(self) -> torch.nn.Module:
        """The model as built, with noise on its weights if `stirred`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.build().eval()
        return stir(model) if self.stirred else model

    @pytest.fixture
    def candidates(self, model: torch.nn.Module) -> list[torch.nn.Module]:
        """The model and, if it is a backbone, a `Potential` around it."""
        return [model, self._potential(model)] if isinstance(model, Backbone) else [model]

    @pytest.fixture
    def potential(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model if it gives energies, else the model as the backbone of a `Potential`."""
        if isinstance(model, Backbone):
            return self._potential(model)
        if "energy" not in plain_outputs(model, self._graph(model, self.molecules()[:1])):
            pytest.skip("the model gives no energy")
        return model

    def _potential(self, backbone: Backbone) -> Potential:
        energies = {z: self.reference_energies.get(z, 0.0) for z in backbone.species}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Potential(backbone, reference_energies=energies)

    @staticmethod
    def _graph(model: torch.nn.Module, structures: Sequence[Structure]) -> Graph:
        return build_graph(structures, model_cutoff(model), model_dtype(model))

    def test_equivariance_molecule(self, model: torch.nn.Module) -> None:
        """Outputs of a molecule transform as the claimed group says, in float64 and in float32."""
        checks.check_equivariance(model, self.molecules()[:1], self.claims)
        checks.check_equivariance(model, self.molecules()[:1], self.claims, torch.float32)

    def test_equivariance_crystal(self, model: torch.nn.Module) -> None:
        """The same for a periodic structure, with lattice translations."""
        if not self.crystals():
            pytest.skip("the model takes no periodic structures")
        checks.check_equivariance(model, self.crystals(), self.claims)

    def test_equivariance_potential(self, potential: torch.nn.Module) -> None:
        """Energy, forces, stress and virial transform as scalars, vectors and tensors."""
        checks.check_equivariance(potential, self.molecules()[:2], self.claims)
        if self.crystals():
            checks.check_equivariance(potential, self.crystals(), self.claims)

    def test_permutation(self, model: torch.nn.Module) -> None:
        """Relabelling the atoms relabels the outputs of nodes and leaves those of the graph."""
        checks.check_equivariance(model, self.molecules(), "S_n")

    def test_batch_equals_single(self, candidates: list[torch.nn.Module]) -> None:
        """A structure has the same outputs alone and in a batch."""
        for candidate in candidates:
            checks.check_batching(candidate, self.molecules())
            if self.crystals():
                crystal = self.crystals()[0]
                checks.check_batching(
                    candidate, [crystal, *self.crystals(), crystal.strained(0.02 * torch.eye(3).double())]
                )

    def test_separation(self, candidates: list[torch.nn.Module]) -> None:
        """Two molecules 40 Å apart in one graph are two molecules."""
        first, second = self.molecules()[:2]
        for candidate in candidates:
            checks.check_separation(candidate, first, second)

    def test_smooth_at_cutoff(self, potential: torch.nn.Module) -> None:
        """Energy and forces are continuous as an atom crosses the cutoff, and the forces' slope is bounded."""
        checks.check_smooth_at_cutoff(potential, self.species, self.dress)

    def test_finite_difference_forces(self, potential: torch.nn.Module) -> None:
        """Forces are minus the gradient of the energy, in float64."""
        differences.check_forces(potential, self.molecules()[0])
        for crystal in self.crystals():
            differences.check_forces(potential, crystal)

    def test_finite_difference_stress(self, potential: torch.nn.Module) -> None:
        """Stress is the energy's derivative by strain over the volume, in float64; the virial is its minus V fold."""
        if not self.crystals():
            pytest.skip("the model takes no periodic structures")
        for crystal in self.crystals():
            if "stress" not in plain_outputs(
                at_dtype(potential, torch.float64), build_graph([crystal], model_cutoff(potential))
            ):
                pytest.skip("the model gives no stress")
            differences.check_stress(potential, crystal)

    def test_isolated_atom(self, potential: torch.nn.Module) -> None:
        """A single atom has a finite energy and no force."""
        checks.check_isolated_atom(potential, self.species, dress=self.dress)

    def test_gradients_across_molecules(self, candidates: list[torch.nn.Module]) -> None:
        """Outputs of one graph have exactly no gradient by the positions of another."""
        for candidate in candidates:
            checks.check_gradients_across(candidate, self.molecules())

    def test_save_load(self, candidates: list[torch.nn.Module], tmp_path: Path) -> None:
        """A saved and loaded model has the same weights and the same outputs, to the last bit, in both dtypes."""
        for candidate in candidates:
            if not hasattr(candidate, "spec"):
                pytest.skip("the model has no spec(), so it is not saved to a file")
            for dtype in (torch.float32, torch.float64):
                original = at_dtype(candidate, dtype)
                path = tmp_path / "model.safetensors"
                save(original, path)
                loaded = load(path)
                states = original.state_dict(), loaded.state_dict()
                assert states[0].keys() == states[1].keys(), "The file has other parameters than the model."
                for name, value in states[0].items():
                    assert torch.equal(value, states[1][name]), f"{name} is not the same after save and load."
                graph = self._graph(original, self.molecules())
                options = call_options(original, self.molecules())
                before, after = plain_outputs(original, graph, options), plain_outputs(loaded, graph, options)
                for name, value in before.items():
                    assert torch.equal(value, after[name]), f"{name!r} is not the same after save and load ({dtype})."

    def test_backends_equal(self, candidates: list[torch.nn.Module]) -> None:
        """Compiled kernels and the torch reference agree, in both dtypes."""
        for candidate in candidates:
            for dtype in (torch.float64, torch.float32):
                checks.check_backends(candidate, self.molecules(), dtype)

    def test_float32_against_float64(self, potential: torch.nn.Module) -> None:
        """Single and double precision agree to what rounding explains."""
        checks.check_precision(potential, self.molecules())

    def test_no_edges(self, candidates: list[torch.nn.Module]) -> None:
        """A graph without edges is a valid input, and its atoms feel nothing."""
        for candidate in candidates:
            checks.check_no_edges(candidate, self.species, self.dress)

    def test_deterministic(self, candidates: list[torch.nn.Module]) -> None:
        """The same call twice gives the same bits."""
        for candidate in candidates:
            checks.check_deterministic(candidate, self.molecules(), torch.float32)

    def test_input_unchanged(self, candidates: list[torch.nn.Module]) -> None:
        """A call changes nothing in the caller's graph."""
        for candidate in candidates:
            checks.check_input_unchanged(candidate, self.molecules())

    def test_training_gradient(self, potential: torch.nn.Module) -> None:
        """A loss of energies and forces can be differentiated by the weights: finite, and its true slope."""
        differences.check_training_gradient(potential, self.molecules()[:2])

    def test_state_is_left_alone(self, model: torch.nn.Module) -> None:
        """A call in evaluation mode changes no parameter and no buffer."""
        before = copy.deepcopy(model.state_dict())
        model(self._graph(model, self.molecules()))
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), f"A call in evaluation mode changed {name}."
