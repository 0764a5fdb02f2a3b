"""`Graph`: atoms, cell, edges and labels of one or several structures, as tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equitools.errors import GraphError
from equitools.graph.checks import (
    check_atomic_numbers,
    check_cell,
    check_cutoff,
    check_edges,
    check_finite,
    check_shape,
)
from equitools.graph.keys import CHARGES, ENERGY, KEYS, NODE_ENERGY, TAGS, TOTAL_CHARGE, VELOCITIES
from equitools.graph.neighbours import neighbour_list
from equitools.ops.precision import full_precision
from equitools.ops.segment import segment_gather

__all__ = ["Graph"]

WIDE = frozenset({ENERGY, NODE_ENERGY})


@dataclass(eq=False, repr=False)
class Graph:
    """One structure, or several side by side, with the edges that a network passes messages along.

    Make one with `from_ase` or `from_arrays`, join several with `equitools.graph.batch`. Sizes: N atoms, E edges,
    B structures.

    Attributes:
        positions: ``[N, 3]`` Å.
        atomic_numbers: ``[N]`` int64.
        cell: ``[B, 3, 3]`` Å, rows are lattice vectors; zero where there is none.
        pbc: ``[B, 3]`` bool.
        batch: ``[N]`` int64, ascending: which structure the atom belongs to.
        edge_index: ``[2, E]`` int64; row 0 the sender j, row 1 the receiver i; sorted by receiver.
        edge_shift: ``[E, 3]``, whole numbers S in the dtype of the positions.
        cutoff: Å.
        labels: Targets by name; a graph label is ``[B]`` or ``[B, ...]``, a node label ``[N, ...]``.
        label_levels: ``"graph"`` or ``"node"`` for each label.
        extras: Further inputs by name, such as ``velocities [N, 3]`` or ``total_charge [B]``.
        extra_levels: ``"graph"`` or ``"node"`` for each extra.

    Properties:
        edge_vectors_match_positions: every edge vector is shorter than the cutoff and equals r_j − r_i + S·cell.
        energy_labels_keep_float64: `to` never narrows energies nor other scalar float64 graph labels.
    """

    positions: Tensor
    atomic_numbers: Tensor
    cell: Tensor
    pbc: Tensor
    batch: Tensor
    edge_index: Tensor
    edge_shift: Tensor
    cutoff: float
    labels: dict[str, Tensor] = field(default_factory=dict)
    label_levels: dict[str, str] = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)
    extra_levels: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_arrays(
        cls,
        positions: Any,
        atomic_numbers: Any,
        cell: Any = None,
        pbc: Any = None,
        *,
        cutoff: float,
        dtype: torch.dtype = torch.float32,
        labels: Mapping[str, Any] | None = None,
        label_levels: Mapping[str, str] | None = None,
        extras: Mapping[str, Any] | None = None,
        extra_levels: Mapping[str, str] | None = None,
    ) -> Graph:
        """Make a graph of one structure from arrays or tensors and find its edges.

        Args:
            positions: ``[N, 3]`` Å. A tensor keeps its place in the autograd graph and its device.
            atomic_numbers: ``[N]`` integers from 1 to 118.
            cell: ``[3, 3]`` Å (rows are lattice vectors), ``[3]`` for a box at right angles, or None for none.
            pbc: One bool or three; None means not periodic, also when a cell is given (as in ASE).
            cutoff: Å.
            dtype: Of positions, cell, shifts and labels that are not energies.
            labels: Targets of this structure without the batch dimension: energy a number, forces ``[N, 3]``,
                stress ``[3, 3]``, other names of any shape.
            label_levels: ``"graph"`` or ``"node"`` for labels that are not in `KEYS`; where it is not given, a label
                whose first dimension is N > 1 is refused as ambiguous and any other is a graph label.
            extras: Further inputs, shaped as labels are.
            extra_levels: As ``label_levels``.

        Raises:
            GraphError: for anything inconsistent; see `validate`.
        """
        check_cutoff(float(cutoff))
        points = _float_tensor(positions, dtype, "positions")
        if points.ndim == 1 and points.numel() == 0:
            points = points.reshape(0, 3)
        device = points.device
        box = torch.zeros(3, 3, dtype=dtype) if cell is None else _float_tensor(cell, dtype, "cell")
        if box.shape == (3,):
            box = torch.diag(box)
        check_shape("positions", points, (None, 3))
        check_shape("cell", box, (3, 3))
        flags = _pbc(pbc)
        numbers = _numbers(atomic_numbers)
        if numbers.shape[0] != points.shape[0]:
            raise GraphError(f"There are {points.shape[0]} positions but {numbers.shape[0]} atomic numbers.")
        check_atomic_numbers(numbers)
        check_finite("positions", points)
        # the search sees the caller's digits, not what a cast to float32 leaves of them
        lattice = box if cell is None or np.ndim(cell) == 1 else cell
        edge_index, edge_shift = neighbour_list(positions, lattice, flags, cutoff)
        count = points.shape[0]
        targets, target_levels = _values(labels, label_levels, count, dtype, device, "label")
        inputs, input_levels = _values(extras, extra_levels, count, dtype, device, "extra input")
        return cls(
            positions=points,
            atomic_numbers=numbers.to(device),
            cell=box.to(device)[None],
            pbc=flags.to(device)[None],
            batch=torch.zeros(count, dtype=torch.int64, device=device),
            edge_index=edge_index.to(device),
            edge_shift=edge_shift.to(device, dtype),
            cutoff=float(cutoff),
            labels=targets,
            label_levels=target_levels,
            extras=inputs,
            extra_levels=input_levels,
        ).validate()

    @classmethod
    def from_ase(
        cls,
        atoms: Any,
        cutoff: float,
        dtype: torch.dtype = torch.float32,
        labels: Mapping[str, Any] | None = None,
        *,
        label_levels: Mapping[str, str] | None = None,
        extras: Mapping[str, Any] | None = None,
        tags: bool = False,
    ) -> Graph:
        """Make a graph from an object with ``positions``, ``numbers``, ``cell`` and ``pbc``, such as ASE's Atoms.

        Labels are not looked for in ``atoms``; give them, or use `equitools.data`, which reads them with care.

        Args:
            atoms: Not changed, and no calculator of it is asked.
            cutoff: Å.
            dtype: See `from_arrays`.
            labels: See `from_arrays`.
            label_levels: See `from_arrays`.
            extras: See `from_arrays`.
            tags: Take ASE's tags along as ``extras["tags"]``, which are 0 where none were set.
        """
        missing = [name for name in ("positions", "numbers", "cell", "pbc") if not hasattr(atoms, name)]
        if missing:
            raise GraphError(
                f"Graph.from_ase needs an object with positions, numbers, cell and pbc, such as ase.Atoms; "
                f"{type(atoms).__name__} has no {', '.join(missing)}."
            )
        if tags:
            extras = {TAGS: np.array(atoms.get_tags(), dtype=np.int64), **(extras or {})}
        return cls.from_arrays(
            np.array(atoms.positions, dtype=np.float64),
            np.asarray(atoms.numbers),
            np.array(atoms.cell, dtype=np.float64),
            np.asarray(atoms.pbc),
            cutoff=cutoff,
            dtype=dtype,
            labels=labels,
            label_levels=label_levels,
            extras=extras,
        )

    @property
    def num_nodes(self) -> int:
        """Number of atoms."""
        return self.positions.shape[0]

    @property
    def num_edges(self) -> int:
        """Number of edges."""
        return self.edge_index.shape[1]

    @property
    def num_graphs(self) -> int:
        """Number of structures."""
        return self.cell.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.positions.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the geometry."""
        return self.positions.dtype

    @property
    def velocities(self) -> Tensor | None:
        """``[N, 3]``, where given among the extras."""
        return self.extras.get(VELOCITIES)

    @property
    def total_charge(self) -> Tensor | None:
        """``[B]`` e, where given among the extras."""
        return self.extras.get(TOTAL_CHARGE)

    @property
    def num_nodes_per_graph(self) -> Tensor:
        """``[B]`` int64, the atoms of each structure."""
        return torch.bincount(self.batch, minlength=self.num_graphs)

    @full_precision
    def edge_vectors(self) -> Tensor:
        """Return ``r_j − r_i + S·cell`` for every edge j → i, ``[E, 3]`` Å, differentiable in positions and cell."""
        sender, receiver = self.edge_index
        # Gradients of indexed tensors are added up by one thread; those of segment_gather by all.
        difference = segment_gather(self.positions, sender) - segment_gather(self.positions, receiver)
        if self.num_graphs == 1:
            return difference + self.edge_shift @ self.cell[0]
        cells = self.cell[self.batch[receiver]]
        return difference + torch.bmm(self.edge_shift.unsqueeze(1), cells).squeeze(1)

    def replace(self, **changes: Any) -> Graph:
        """Return a shallow copy with some attributes, labels or extras changed.

        Args:
            changes: An attribute's name, or the name of a present extra or label; a new name that `KEYS` knows
                (``velocities``, ``total_charge``) becomes an extra. The edges are kept: see `rebuild_edges`.
        """
        names = {item.name for item in dataclasses.fields(self)}
        direct = {key: value for key, value in changes.items() if key in names}
        labels, extras = dict(direct.get("labels", self.labels)), dict(direct.get("extras", self.extras))
        extra_levels = dict(direct.get("extra_levels", self.extra_levels))
        for key, value in changes.items():
            if key in names:
                continue
            if key in labels:
                labels[key] = value
            elif key in extras or key in (VELOCITIES, TOTAL_CHARGE, CHARGES):
                extras[key] = value
                extra_levels.setdefault(key, KEYS[key].level if key in KEYS else "graph")
            else:
                raise GraphError(
                    f"Graph.replace does not know {key!r}: it is no attribute, label or extra of this graph."
                )
        direct.update(labels=labels, extras=extras, extra_levels=extra_levels)
        direct.setdefault("label_levels", dict(self.label_levels))
        return dataclasses.replace(self, **direct)

    def rebuild_edges(self, cutoff: float | None = None) -> Graph:
        """Return the graph with its edges found anew, for changed positions or another cutoff (Å)."""
        reach = self.cutoff if cutoff is None else float(cutoff)
        counts = self.num_nodes_per_graph.tolist()
        edges, shifts, start = [], [], 0
        for index, count in enumerate(counts):
            stop = start + count
            found, shift = neighbour_list(self.positions[start:stop], self.cell[index], self.pbc[index], reach)
            edges.append(found + start)
            shifts.append(shift)
            start = stop
        return dataclasses.replace(
            self,
            cutoff=reach,
            edge_index=torch.cat(edges, dim=1).to(self.device),
            edge_shift=torch.cat(shifts).to(self.device, self.dtype),
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Graph:
        """Return the graph on another device or in another floating type.

        Energies and scalar graph labels that are float64 stay float64 (total energies would lose meV digits), except
        on MPS, which has no float64: there everything floating becomes float32.

        Args:
            device: Where to; None keeps it.
            dtype: float32 or float64 for positions, cell, shifts, extras and the other floating labels.
        """
        target = None if device is None else torch.device(device)
        narrow = (target or self.device).type == "mps"
        if narrow:
            dtype = torch.float32

        def move(tensor: Tensor, wide: bool = False) -> Tensor:
            change = None if dtype is None or not tensor.is_floating_point() or (wide and not narrow) else dtype
            return tensor.to(device=target, dtype=change)

        tensors = {name: move(getattr(self, name)) for name in _TENSORS}
        labels = {name: move(value, wide=self._is_wide(name)) for name, value in self.labels.items()}
        extras = {name: move(value) for name, value in self.extras.items()}
        return self.replace(**tensors, labels=labels, extras=extras)

    def pin_memory(self) -> Graph:
        """Return the graph in page-locked memory, for data loaders that feed a GPU."""
        tensors = {name: getattr(self, name).pin_memory() for name in _TENSORS}
        labels = {name: value.pin_memory() for name, value in self.labels.items()}
        extras = {name: value.pin_memory() for name, value in self.extras.items()}
        return self.replace(**tensors, labels=labels, extras=extras)

    def validate(self) -> Graph:
        """Check everything that a network relies on, and return the graph itself.

        Raises:
            GraphError: for a wrong shape, NaN or infinity, an atomic number out of range, a periodic axis with a zero
                cell vector, linearly dependent periodic vectors, an edge index out of range, edges that are unsorted
                or cross between structures, a label of the wrong shape or not finite.
        """
        n, b = self.num_nodes, self.num_graphs
        check_cutoff(self.cutoff)
        check_shape("positions", self.positions, (None, 3))
        check_shape("atomic_numbers", self.atomic_numbers, (n,))
        check_shape("cell", self.cell, (None, 3, 3))
        check_shape("pbc", self.pbc, (b, 3))
        check_shape("batch", self.batch, (n,))
        check_shape("edge_index", self.edge_index, (2, None))
        check_shape("edge_shift", self.edge_shift, (self.num_edges, 3))
        if self.pbc.dtype != torch.bool:
            raise GraphError(f"pbc must be bool, but has dtype {self.pbc.dtype}.")
        for name in ("batch", "edge_index"):
            if getattr(self, name).dtype != torch.int64:
                raise GraphError(f"{name} must be int64, but has dtype {getattr(self, name).dtype}.")
        for name in ("positions", "cell", "edge_shift"):
            if getattr(self, name).dtype != self.dtype or not self.positions.is_floating_point():
                raise GraphError(
                    f"positions, cell and edge_shift must share one floating type, but {name} has dtype "
                    f"{getattr(self, name).dtype}."
                )
        check_finite("positions", self.positions)
        check_finite("cell", self.cell)
        check_atomic_numbers(self.atomic_numbers)
        if n and (int(self.batch[0]) < 0 or int(self.batch[-1]) >= b or bool((self.batch[1:] < self.batch[:-1]).any())):
            raise GraphError(f"batch must ascend from 0 and stay below the number of structures, {b}.")
        for index in range(b):
            check_cell(self.cell[index], self.pbc[index], "" if b == 1 else f" of structure {index}")
        check_edges(self.edge_index, self.edge_shift, self.batch, self.pbc)
        self._validate_values("Label", self.labels, self.label_levels)
        self._validate_values("Extra input", self.extras, self.extra_levels)
        return self

    def _is_wide(self, name: str) -> bool:
        value = self.labels[name]
        scalar = self.label_levels.get(name) == "graph" and value.ndim == 1
        return name in WIDE or (scalar and value.dtype == torch.float64)

    def _validate_values(self, kind: str, values: Mapping[str, Tensor], levels: Mapping[str, str]) -> None:
        for name, value in values.items():
            level = levels.get(name)
            if level not in ("graph", "node"):
                raise GraphError(f"{kind} {name!r} must have the level 'graph' or 'node', but has {level!r}.")
            rows = self.num_graphs if level == "graph" else self.num_nodes
            spec = KEYS.get(name)
            if spec is not None and spec.trailing is not None:
                check_shape(f"{kind} {name!r}", value, (rows, *spec.trailing))
            elif value.ndim == 0 or value.shape[0] != rows:
                raise GraphError(
                    f"{kind} {name!r} is a {level} quantity, so its first dimension must be {rows}, but its shape is "
                    f"{list(value.shape)}."
                )
            check_finite(f"{kind} {name!r}", value)

    def __repr__(self) -> str:
        labels = f", labels={sorted(self.labels)}" if self.labels else ""
        extras = f", extras={sorted(self.extras)}" if self.extras else ""
        return (
            f"Graph(structures={self.num_graphs}, atoms={self.num_nodes}, edges={self.num_edges}, "
            f"cutoff={self.cutoff:g} Å, {self.dtype}, {self.device}{labels}{extras})"
        )


_TENSORS = ("positions", "atomic_numbers", "cell", "pbc", "batch", "edge_index", "edge_shift")


def _float_tensor(values: Any, dtype: torch.dtype, name: str) -> Tensor:
    if dtype not in (torch.float32, torch.float64):
        raise GraphError(f"A graph is float32 or float64, but {dtype} was asked for.")
    try:
        if isinstance(values, Tensor):
            return values.to(dtype)
        return torch.from_numpy(np.array(values, dtype=np.float64)).to(dtype)
    except (TypeError, ValueError) as error:
        raise GraphError(f"{name} must be an array of numbers, but could not be read as one: {error}.") from error


def _numbers(values: Any) -> Tensor:
    try:
        numbers = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    except TypeError as error:
        raise GraphError(f"atomic_numbers must be integers, but could not be read as such: {error}.") from error
    if numbers.numel() == 0:
        return torch.zeros(0, dtype=torch.int64)
    check_shape("atomic_numbers", numbers, (None,))
    if numbers.is_floating_point() or numbers.dtype == torch.bool:
        raise GraphError(f"atomic_numbers must be integers, but have dtype {numbers.dtype}.")
    return numbers.to(torch.int64)


def _pbc(pbc: Any) -> Tensor:
    if isinstance(pbc, Tensor):
        pbc = pbc.detach().cpu().numpy()
    values = np.array(False if pbc is None else pbc, dtype=bool)
    flags = torch.from_numpy(np.broadcast_to(values, (3,)).copy() if values.ndim == 0 else values)
    check_shape("pbc", flags, (3,))
    return flags


def _values(
    values: Mapping[str, Any] | None,
    levels: Mapping[str, str] | None,
    num_nodes: int,
    dtype: torch.dtype,
    device: torch.device,
    kind: str,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Turn one structure's labels or extras into tensors with a leading dimension, and name their levels."""
    tensors: dict[str, Tensor] = {}
    kinds: dict[str, str] = {}
    for name, value in (values or {}).items():
        tensor = value.to(device) if isinstance(value, Tensor) else torch.from_numpy(np.array(value)).to(device)
        level = (levels or {}).get(name) or _level(name, tensor, num_nodes, kind)
        spec = KEYS.get(name)
        if level == "graph":
            # a known graph quantity may already carry its leading dimension of one
            ready = spec is not None and spec.trailing is not None and tuple(tensor.shape) == (1, *spec.trailing)
            tensor = tensor if ready else tensor.unsqueeze(0)
        if tensor.is_floating_point():
            wide = name in WIDE or (kind == "label" and level == "graph" and tensor.ndim == 1)
            tensor = tensor.to(torch.float64 if wide and device.type != "mps" else dtype)
        tensors[name], kinds[name] = tensor, level
    return tensors, kinds


def _level(name: str, tensor: Tensor, num_nodes: int, kind: str) -> str:
    if name in KEYS:
        level = KEYS[name].level
        if level == "edge":
            raise GraphError(f"{name!r} cannot be a {kind}: it belongs to the edges.")
        return level
    if tensor.ndim and tensor.shape[0] == num_nodes:
        raise GraphError(
            f"The {kind} {name!r} has the shape {list(tensor.shape)} in a structure of {num_nodes} atoms, so it may "
            "belong to the atoms or to the whole; say which by label_levels={...: 'node' or 'graph'}."
        )
    return "graph"
