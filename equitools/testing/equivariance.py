"""Does a model transform as it says? A report that names what broke and by how much.

The transformation acts on the structure in float64, the neighbour list is built again, and only then is the geometry
cast to the dtype of the model: an error in the pipeline (a lost cell shift, an order of edges that matters) shows as
well as an error in the network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equitools.errors import EquitoolsError, GraphError, ShapeError
from equitools.testing import tolerances
from equitools.testing.outputs import Behaviour, behaviours_of, call_options, plain_outputs
from equitools.testing.report import Report, Row
from equitools.testing.structures import Structure, build_graph, structures_of
from equitools.testing.transformations import Transformation, sample_transformations

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = ["at_dtype", "equivariance_report", "model_cutoff", "model_dtype"]


def model_dtype(model: torch.nn.Module) -> torch.dtype:
    """Return the floating type of a model's parameters; float32 if it has none."""
    return next((p.dtype for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()), torch.float32)


def model_cutoff(model: torch.nn.Module, fallback: float | None = None) -> float:
    """Return the cutoff of a model in Å.

    Raises:
        EquitoolsError: The model has no attribute ``cutoff`` and no fallback is given.
    """
    cutoff = getattr(model, "cutoff", None)
    if cutoff is None:
        cutoff = fallback
    if cutoff is None:
        raise EquitoolsError(
            f"{type(model).__name__} has no attribute 'cutoff' (Å); set it, so that edges can be found."
        )
    return float(cutoff)


def at_dtype(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Return a copy of the model in evaluation mode, with parameters in ``dtype``; the model itself stays as it is."""
    return copy.deepcopy(model).to(dtype=dtype).eval()


def equivariance_report(
    model: torch.nn.Module,
    graph: Graph,
    group: Any = "E(3)",
    *,
    trials: int = 3,
    dtype: torch.dtype | None = torch.float64,
    outputs: Iterable[str] | Mapping[str, Any] | None = None,
    seed: int = 0,
    rattle: float = 0.05,
    tolerance: float | None = None,
) -> Report:
    """Move a structure in every way that a group allows and compare the model's outputs with what they should become.

    Two rows are there for every group: a permutation of the atoms, and the same call twice.

    Args:
        model: ``model(graph) -> dict``. It is copied, converted to ``dtype`` and put in evaluation mode.
        graph: One structure or a batch. Only atoms, cell and extra inputs are used; edges are found again.
        group: ``"E(3)"``, ``"SE(3)"``, ``"O(3)"``, ``"SO(3)"``, ``"T(3)"`` or ``"S_n"``, or a group object with such
            a name.
        trials: How many random elements of each kind.
        dtype: In which the model computes; ``None`` for its own. Transformations are always applied in float64.
        outputs: Which outputs to judge (names), or how further ones transform (a mapping from the name to
            ``"scalar"``, ``"pseudoscalar"``, ``"vector"``, ``"pseudovector"``, ``"point"``, ``"tensor"`` or irreps,
            optionally a pair of level and that). ``None`` for all.
        seed: Same seed, same report.
        rattle: Å. The structure is shaken first: what vanishes by symmetry (forces in a crystal, chirality in a
            planar molecule) could not break.
        tolerance: Largest relative error; ``None`` for `tolerances.EQUIVARIANCE` of the dtype.

    Returns:
        The report: ``.passed``, ``.worst`` (the largest relative error), ``.rows``; ``str()`` is a table.

    Raises:
        GraphError: The graph has no atoms.
        UnknownNameError: The group, or the behaviour of an output, is unknown.
        ShapeError: ``trials`` is less than one.

    Properties:
        flags_broken_models: a model with a known error gets a failed row under the right heading.
        leaves_model_alone: parameters, dtype, mode and device of the model do not change.
    """
    if trials < 1:
        raise ShapeError(f"equivariance_report needs at least one trial, got trials={trials}.")
    if graph.num_nodes == 0:
        raise GraphError("equivariance_report needs a graph with at least one atom.")
    computing = model_dtype(model) if dtype is None else dtype
    judge = _Judge(model, graph, computing, outputs, tolerance, rattle, seed)
    rows = judge.repeat()
    periodic = bool(graph.pbc.any())
    for transformations in sample_transformations(group, trials, seed):
        if periodic or transformations[0].kind != "lattice translation":
            rows.extend(judge.rows(transformations))
    return Report(
        model=_title(model),
        group=str(getattr(group, "name", group)),
        dtype=computing,
        trials=trials,
        num_nodes=graph.num_nodes,
        num_graphs=graph.num_graphs,
        rattle=rattle,
        rows=tuple(rows),
    )


class _Judge:
    """The reference outputs of one structure, and the comparison of every transformed one with them."""

    def __init__(
        self,
        model: torch.nn.Module,
        graph: Graph,
        dtype: torch.dtype,
        outputs: Iterable[str] | Mapping[str, Any] | None,
        tolerance: float | None,
        rattle: float,
        seed: int,
    ) -> None:
        self.dtype, self.tolerance, self.device = dtype, tolerance, graph.positions.device
        self.cutoff = model_cutoff(model, graph.cutoff)
        self.model = at_dtype(model, dtype)
        generator = torch.Generator().manual_seed(seed)
        self.structures = [structure.rattled(rattle, generator) for structure in structures_of(graph)]
        self.options = call_options(self.model, self.structures)
        self.reference = self.evaluate(self.structures)
        self.behaviours = behaviours_of(self.model, self.reference, outputs)
        self.counts = [len(structure) for structure in self.structures]

    def evaluate(self, structures: Sequence[Structure]) -> dict[str, Tensor]:
        graph = build_graph(structures, self.cutoff, self.dtype, self.device)
        return plain_outputs(self.model, graph, self.options)

    def repeat(self) -> list[Row]:
        again = self.evaluate(self.structures)
        rows = []
        for name in self.behaviours:
            absolute, relative = tolerances.relative_error(again[name], self.reference[name], self.dtype)
            # atomic additions on a GPU come in any order, so that only the CPU repeats itself to the last bit
            exact = self.device.type == "cpu"
            bound = (tolerances.DETERMINISM if exact else tolerances.EQUIVARIANCE)[self.dtype]
            rows.append(Row("same call twice", name, absolute, relative, bound, tolerances.rms(self.reference[name])))
        return rows

    def rows(self, transformations: Sequence[Transformation]) -> list[Row]:
        worst: dict[str, Row] = {}
        for transformation in transformations:
            parts = [transformation.apply(structure) for structure in self.structures]
            got = self.evaluate([moved for moved, _, _ in parts])
            starts = [sum(self.counts[:k]) for k in range(len(parts))]
            order = torch.cat([start + part[1] for start, part in zip(starts, parts, strict=True)])
            shifts = torch.cat([part[2] for part in parts])
            for name, behaviour in self.behaviours.items():
                wanted = behaviour.transform(self.reference[name], transformation.matrix)
                wanted = wanted[order] if behaviour.level == "node" else wanted
                wanted = wanted + shifts if behaviour.kind == "point" else wanted
                row = self._compare(name, behaviour, transformation.kind, got.get(name), wanted)
                if name not in worst or row.ratio > worst[name].ratio:
                    worst[name] = row
        return list(worst.values())

    def _compare(self, name: str, behaviour: Behaviour, kind: str, found: Tensor | None, wanted: Tensor) -> Row:
        reference = self.reference[name]
        bound = self.tolerance if self.tolerance is not None else tolerances.EQUIVARIANCE[self.dtype]
        if found is None or found.shape != wanted.shape:
            return Row(kind, name, float("inf"), float("inf"), bound, 0.0, "another shape")
        whole = self._size(name, behaviour, reference)
        result: Row | None = None
        for part, columns in behaviour.parts(reference.shape):
            first, second = (found, wanted) if columns is None else (found[..., columns], wanted[..., columns])
            size = whole if columns is None else max(tolerances.rms(second), 0.1 * whole)
            absolute, relative = tolerances.relative_error(first, second, self.dtype, size)
            row = Row(kind, name, absolute, relative, bound, size, part)
            if result is None or row.ratio > result.ratio:
                result = row
        if result is None:  # an output of no columns cannot be wrong
            return Row(kind, name, 0.0, 0.0, bound, 0.0, "empty")
        return result

    def _size(self, name: str, behaviour: Behaviour, reference: Tensor) -> float:
        # a total energy of -9000 eV would forgive an error of 9 eV in float32: judge by what the network adds
        if name in {"energy", "node_energy"} and "interaction_energy" in self.reference:
            return tolerances.rms(self.reference["interaction_energy"])
        if behaviour.kind == "point":
            return tolerances.rms(reference - reference.mean(0, keepdim=True))
        return tolerances.rms(reference)


def _title(model: torch.nn.Module) -> str:
    inner = getattr(model, "backbone", None)
    name = type(model).__name__
    return name if inner is None else f"{name}({getattr(inner, 'name', '') or type(inner).__name__})"
