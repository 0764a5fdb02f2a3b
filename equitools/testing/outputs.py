"""How each output of a model transforms, known from its key, its irreps, or what the caller declares."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equitools.errors import EquitoolsError, IrrepsError, ShapeError, UnknownNameError, nearest
from equitools.groups import Irreps, irreps_matrix

if TYPE_CHECKING:
    from equitools.graph import Graph
    from equitools.testing.structures import Structure

__all__ = ["Behaviour", "behaviours_of", "call_options", "plain_outputs"]

KINDS = ("scalar", "pseudoscalar", "vector", "pseudovector", "point", "tensor", "irreps")

#: Level and kind of the outputs with a fixed meaning (`equitools.graph.KEYS`).
KNOWN: dict[str, tuple[str, str]] = {
    "energy": ("graph", "scalar"),
    "interaction_energy": ("graph", "scalar"),
    "node_energy": ("node", "scalar"),
    "charges": ("node", "scalar"),
    "forces": ("node", "vector"),
    "velocities": ("node", "vector"),
    "positions": ("node", "point"),
    "dipole": ("graph", "vector"),
    "stress": ("graph", "tensor"),
    "virial": ("graph", "tensor"),
}


@dataclass(frozen=True)
class Behaviour:
    """How an output transforms.

    Attributes:
        level: ``"node"`` or ``"graph"``: what the first dimension counts.
        kind: One of ``scalar``, ``pseudoscalar``, ``vector``, ``pseudovector``, ``point``, ``tensor``, ``irreps``.
        irreps: For ``irreps``: of the last dimension, in ``mul_ir`` layout.
    """

    level: str
    kind: str
    irreps: Irreps | None = None

    def transform(self, value: Tensor, matrix: Tensor) -> Tensor:
        """Act on ``value [n, ...]`` (float64) with ``matrix [3, 3]`` of O(3); shifts of points are the caller's."""
        sign = float(torch.sign(torch.linalg.det(matrix)))
        if self.kind == "scalar":
            return value
        if self.kind == "pseudoscalar":
            return sign * value
        if self.kind in {"vector", "point"}:
            return value @ matrix.T
        if self.kind == "pseudovector":
            return sign * value @ matrix.T
        if self.kind == "tensor":
            return matrix @ value @ matrix.T
        if self.irreps is None:
            raise IrrepsError("An output of the kind 'irreps' needs its irreps.")
        return value @ irreps_matrix(self.irreps, matrix).to(value.dtype).T

    def parts(self, shape: Sequence[int]) -> Iterator[tuple[str, Tensor | None]]:
        """Yield the name and the columns of each irrep of the output; one nameless part if it has none."""
        if self.irreps is None or self.kind != "irreps":
            yield "", None
            return
        columns: dict[str, list[Tensor]] = {}
        start = 0
        for mul, ir in self.irreps:
            stop = start + mul * ir.dim
            columns.setdefault(str(ir), []).append(torch.arange(start, stop))
            start = stop
        if start != shape[-1]:
            raise IrrepsError(f"The output has {shape[-1]} columns, its irreps {self.irreps} have {start}.")
        for name, pieces in columns.items():
            yield name, torch.cat(pieces)


def plain_outputs(model: torch.nn.Module, graph: Graph, options: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Call a model and return its outputs as detached float64 tensors on the CPU.

    Raises:
        ShapeError: The model does not return a mapping of names to tensors.
    """
    outputs = model(graph, **(options or {}))
    if not isinstance(outputs, Mapping):
        raise ShapeError(
            f"{type(model).__name__}(graph) must return a dict of tensors, but gave {type(outputs).__name__}."
        )
    return {k: v.detach().to("cpu", torch.float64) for k, v in outputs.items() if isinstance(v, Tensor)}


def call_options(model: torch.nn.Module, structures: Sequence[Structure]) -> dict[str, Any]:
    """Return the options with which a potential gives all that it can: stress where there is a volume, and virial.

    A potential is known by its ``forward(graph, forces, stress, virial)``, so that other people's are asked, too.
    """
    volume = all(bool(structure.pbc.all()) for structure in structures)
    wanted = {"forces": True, "virial": True, **({"stress": True} if volume else {})}
    accepted = inspect.signature(model.forward).parameters
    return {name: value for name, value in wanted.items() if name in accepted}


def behaviours_of(
    model: torch.nn.Module, outputs: Mapping[str, Tensor], asked: Iterable[str] | Mapping[str, Any] | None = None
) -> dict[str, Behaviour]:
    """Find out how the outputs of a model transform.

    Args:
        model: Its ``irreps_out`` tells about ``node_features``; its head (or itself) may declare
            ``outputs = {name: (level, shape, irreps or None)}``.
        outputs: What the model returned.
        asked: Names to keep, or a mapping that declares further behaviours; see
            `equitools.testing.equivariance_report`.

    Raises:
        UnknownNameError: An output that was asked for is not there, or how it transforms is not known.
    """
    declared = dict(asked) if isinstance(asked, Mapping) else {}
    names = list(outputs) if asked is None or isinstance(asked, Mapping) else list(asked)
    missing = [name for name in (*names, *declared) if name not in outputs]
    if missing:
        raise UnknownNameError(f"The model gives no output {missing[0]!r}. {nearest(missing[0], outputs)}")
    result = {}
    for name in names:
        result[name] = _behaviour(model, name, outputs[name], declared.get(name))
    return result


def _behaviour(model: torch.nn.Module, name: str, value: Tensor, declared: Any) -> Behaviour:
    heads = {**_declared(model), **_declared(getattr(model, "head", None))}
    if declared is not None:
        level, what = declared if isinstance(declared, tuple) else (None, declared)
        return _parse(name, str(what), level or KNOWN.get(name, ("node" if value.dim() > 1 else "graph", ""))[0])
    if name in heads:
        level, _, irreps = heads[name]
        return Behaviour(level, "scalar") if irreps is None else Behaviour(level, "irreps", Irreps(str(irreps)))
    if name == "node_features" and hasattr(model, "irreps_out"):
        return Behaviour("node", "irreps", Irreps(str(model.irreps_out)))
    if name in KNOWN:
        return Behaviour(*KNOWN[name])
    raise UnknownNameError(
        f"How the output {name!r} of {type(model).__name__} transforms is not known. "
        f"Declare it: equivariance_report(model, graph, outputs={{{name!r}: ('node', 'vector')}}), "
        f"with one of {', '.join(KINDS[:-1])} or irreps."
    )


def _declared(owner: Any) -> Mapping[str, Any]:
    outputs = getattr(owner, "outputs", None)
    return outputs if isinstance(outputs, Mapping) else {}


def _parse(name: str, what: str, level: str) -> Behaviour:
    if what in KINDS[:-1]:
        return Behaviour(level, what)
    try:
        return Behaviour(level, "irreps", Irreps(what))
    except (ValueError, EquitoolsError) as error:
        raise UnknownNameError(
            f"{what!r} does not say how {name!r} transforms; it is no irreps either. {nearest(what, KINDS[:-1])}"
        ) from error
