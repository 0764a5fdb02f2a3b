"""The comparisons behind `equitools.testing.point_report`: each measures one property of a network on point clouds.

Transformations are drawn and applied in float64, a different one for each cloud of the batch, so that clouds that are
mixed up show.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SE, SO, E, Irreps, MatrixGroup, O, parse_group
from equitools.symmetrize import Representation, act, act_on_edges, act_on_nodes, parse_representation
from equitools.testing import tolerances
from equitools.testing.report import Row

__all__ = ["Declared", "PointJudge"]

Declared: TypeAlias = str | Irreps | Representation

_STEEPEST = 100.0  # change of an output over that of the coordinates, by their RMS: above, it is a jump
#: Of the RMS of the coordinates: inside and outside of what usually counts as degenerate.
_NUDGES = (1e-8, 3e-7)
#: Steps of differences of fourth order, by the RMS of the coordinates; one that agrees is enough. A canonical pose has
#: places where it jumps, and a step across one is no derivative.
_STEPS = {torch.float64: (1e-4, 1e-3, 1e-5)}
_COARSE_STEPS = (1e-2, 3e-2)


class PointJudge:
    """The reference outputs, and every comparison with them."""

    def __init__(
        self,
        net: torch.nn.Module | Callable[..., Any],
        values: list[Any],
        group: str | MatrixGroup,
        inputs: Declared | Sequence[Declared] | None,
        outputs: Declared | Sequence[Declared] | Mapping[str, Declared] | None,
        mask: Tensor | None,
        trials: int,
        seed: int,
        dtype: torch.dtype,
        training: bool,
        per_point: Mapping[str, bool] | None,
        tolerance: float | None,
    ) -> None:
        self.permutations_only = isinstance(group, str) and re.fullmatch(r"S_(n|\d+)", group) is not None
        self.group = None if self.permutations_only else parse_group(group)
        self.group_name = str(group) if self.group is None else self.group.name
        self.trials, self.dtype, self.training = trials, dtype, training
        self.bound = tolerances.EQUIVARIANCE[dtype] if tolerance is None else tolerance
        self.generator = torch.Generator().manual_seed(1000 + seed)
        self.calls = seed
        declared = getattr(net, "inputs", "points") if inputs is None else inputs
        self.inputs = [parse_representation(name) for name in _listed(declared)]
        if len(self.inputs) != len(values):
            raise ShapeError(f"{len(self.inputs)} inputs are declared and {len(values)} are given.")
        self._fits(self.inputs)
        self.values = [value.detach().clone() if isinstance(value, Tensor) else value for value in values]
        self.values = [v.double() if _floating(v) else v for v in self.values]
        self._measure()
        self.mask = None if mask is None else mask.clone()
        if mask is not None and (mask.shape != (self.batch, self.size) or mask.dtype != torch.bool):
            raise ShapeError(f"mask must be bool [{self.batch}, {self.size}], given {mask.dtype} {list(mask.shape)}.")
        self.takes_mask = _takes_mask(net)
        self.pristine = self._at_dtype(net)
        self.net = copy.deepcopy(self.pristine)
        self.used = self._inputs(self.values)
        self.kept = [copy.deepcopy(value) for value in self.used]
        self.used_mask = None if self.mask is None else self.mask.clone()
        found = self._raw(self.net, self.used, self.used_mask)
        self.reference = self._named(found)
        declared = getattr(net, "outputs", "scalar") if outputs is None else outputs
        self.outputs = self._declared(declared)
        self._fits(list(self.outputs.values()))
        self.per_point = {
            name: value.ndim > 1 and value.shape[1] == self.size for name, value in self.reference.items()
        } | dict(per_point or {})

    def _fits(self, representations: Sequence[Representation]) -> None:
        """Refuse what a group cannot move."""
        group = self.group
        if group is None or isinstance(group, (O, SO, E, SE)):
            return
        if group.size > group.n + 1:
            raise ConfigError(f"point_report moves points by matrices of n or n + 1 rows; {group.name} has more.")
        for rep in representations:
            if rep.kind == "irreps":
                raise ConfigError(f"Irreps are representations of O(3): {rep.irreps} means nothing under {group.name}.")

    # -- calling the network

    def _measure(self) -> None:
        """Find the numbers of clouds and points, and check the dimension."""
        pairs = [(v, rep) for v, rep in zip(self.values, self.inputs, strict=True) if rep.kind != "shared"]
        first = next(
            (v for v, rep in pairs if rep.kind in {"points", "nodes", "edges"}), pairs[0][0] if pairs else None
        )
        if not isinstance(first, Tensor) or first.ndim < 2:
            raise ShapeError("point_report needs at least one batched input [B, N, ...].")
        self.batch, self.size = first.shape[:2]
        for value, rep in pairs:
            if not isinstance(value, Tensor) or value.shape[:1] != (self.batch,):
                raise ShapeError(f"Every input but 'shared' ones must have {self.batch} clouds along its first axis.")
            if self.group is not None and rep.kind == "points" and value.shape[-1] != self.group.n:
                raise ShapeError(f"{self.group.name} moves points [..., {self.group.n}], given {list(value.shape)}.")

    def _at_dtype(self, net: Any) -> Any:
        if not isinstance(net, torch.nn.Module):
            return net
        return copy.deepcopy(net).to(dtype=self.dtype).train(self.training)

    def _inputs(self, values: Sequence[Any]) -> list[Any]:
        return [v.detach().clone().to(self.dtype) if _floating(v) else copy.deepcopy(v) for v in values]

    def _raw(self, net: Any, inputs: Sequence[Any], mask: Tensor | None) -> Any:
        # Random layers must show themselves in evaluation, and repeat themselves in training.
        self.calls += 1
        torch.manual_seed(0 if self.training else self.calls)
        with torch.enable_grad():
            if self.takes_mask:
                return net(*inputs, mask=mask)
            return net(*inputs)

    def _named(self, found: Any) -> dict[str, Tensor]:
        if isinstance(found, Tensor):
            pairs: dict[str, Any] = {"output": found}
        elif isinstance(found, Mapping):
            pairs = dict(found)
        else:
            pairs = {f"output {k}": value for k, value in enumerate(found)}
        return {
            name: value.detach().to("cpu", torch.float64) if value.is_floating_point() else value.detach().cpu()
            for name, value in pairs.items()
            if isinstance(value, Tensor)
        }

    def evaluate(self, values: Sequence[Any], mask: Tensor | None = None, net: Any = None) -> dict[str, Tensor]:
        """Call the network (the one under test, or ``net``) on inputs in float64; padding is as in the reference."""
        inputs = self._inputs(values)
        mask = self.mask if mask is None else mask
        return self._named(self._raw(self.net if net is None else net, inputs, None if mask is None else mask.clone()))

    def _declared(self, declared: Any) -> dict[str, Representation]:
        if isinstance(declared, Mapping):
            found = {name: parse_representation(rep) for name, rep in declared.items()}
            if set(found) == {""}:
                found = {"output": found[""]}
        elif isinstance(declared, (str, Irreps, Representation)):
            found = {name: parse_representation(declared) for name in list(self.reference)[:1]}
        else:
            found = {f"output {k}": parse_representation(rep) for k, rep in enumerate(declared)}
            if len(found) == 1 and "output" in self.reference:
                found = {"output": found["output 0"]}
        missing = [name for name in found if name not in self.reference]
        if missing or not found:
            raise ShapeError(f"The outputs {list(found)} are declared, the network returned {list(self.reference)}.")
        self.reference = {name: self.reference[name].double() for name in found}
        return found

    # -- comparing

    def compare(
        self,
        kind: str,
        got: Mapping[str, Tensor],
        wanted: Mapping[str, Tensor],
        bound: float,
        mask: Tensor | None = None,
        scale: Mapping[str, float] | None = None,
    ) -> list[Row]:
        """One row for each output; padding of outputs per point is not judged."""
        rows = []
        mask = self.mask if mask is None else mask
        for name in wanted:
            size = self.scale(name) if scale is None else scale[name]
            first, second = got.get(name), wanted[name].double()
            if first is None or first.shape != second.shape:
                rows.append(Row(kind, name, float("inf"), float("inf"), bound, size, "another shape"))
                continue
            first = first.double()
            if self.per_point[name] and mask is not None and mask.shape == second.shape[:2]:
                there = mask.reshape(*mask.shape, *[1] * (second.ndim - 2))
                first, second = torch.where(there, first, 0.0), torch.where(there, second, 0.0)
            absolute, relative = tolerances.relative_error(first, second, self.dtype, size)
            rows.append(Row(kind, name, absolute, relative, bound, size))
        return rows

    def scale(self, name: str) -> float:
        """The RMS of an output; of positions without their mean, which a far-away cloud would make large."""
        value = self.reference[name]
        if self.per_point[name] and self.mask is not None and self.mask.shape == value.shape[:2]:
            value = value[self.mask]
        elif self.per_point[name]:
            value = value.flatten(0, 1)
        if self.outputs[name].kind == "points" and len(value) > 1:
            value = value - value.mean(0, keepdim=True)
        return tolerances.rms(value)

    def attempt(self, kind: str, bound: float, work: Callable[[], list[Row]]) -> list[Row]:
        """Rows of a check; a network that raises has failed it."""
        try:
            return work()
        except Exception as error:  # whatever it is, it is the network's
            part = f"raised {type(error).__name__}"
            return [Row(kind, name, float("inf"), float("inf"), bound, 0.0, part) for name in self.outputs]

    def worst(self, kind: str, bound: float, trial: Callable[[int], list[Row]], count: int | None = None) -> list[Row]:
        """The worst row of several trials, for each output."""
        worst: dict[str, Row] = {}
        for k in range(self.trials if count is None else count):
            for row in self.attempt(kind, bound, lambda k=k: trial(k)):  # type: ignore[misc]
                if row.output not in worst or row.ratio > worst[row.output].ratio:
                    worst[row.output] = row
        return list(worst.values())

    # -- the checks

    def checks(self) -> dict[str, Callable[[], list[Row]]]:
        """The checks that every network of this group can be given."""
        found: dict[str, Callable[[], list[Row]]] = {
            "same call twice": self.twice,
            "input unchanged": self.input_unchanged,
            "after another call": self.after_another,
            "permutation": lambda: self.worst("permutation", self.bound, self.permutation),
            "batch": self.alone,
        }
        if self.group is not None and not isinstance(self.group, (O, SO, E, SE)):
            kind = "group element"
            found[kind] = lambda: self.worst(kind, self.bound, lambda _: self.moved(kind))
        elif self.group is not None:
            found["rotation"] = lambda: self.worst("rotation", self.bound, lambda _: self.moved("rotation"))
            if self.group.reflections:
                found["reflection"] = lambda: self.worst("reflection", self.bound, lambda _: self.moved("reflection"))
            if self.group.euclidean:
                found["translation"] = lambda: self.worst(
                    "translation", self.bound, lambda _: self.moved("translation")
                )
        return found

    def twice(self) -> list[Row]:
        """The same call gives the same bits."""
        again = self.evaluate(self.values)
        return self.compare("same call twice", again, self.reference, tolerances.DETERMINISM[self.dtype])

    def input_unchanged(self) -> list[Row]:
        """The tensors of the first call are what they were before."""
        rows = []
        pairs = [*zip(self.used, self.kept, strict=True), (self.used_mask, self.mask)]
        for k, (now, before) in enumerate(pairs):
            if isinstance(now, Tensor) and isinstance(before, Tensor):
                absolute, relative = tolerances.relative_error(now.double(), before.double(), self.dtype)
                name = "mask" if k == len(self.used) else f"input {k}"
                size = tolerances.rms(before.double())
                rows.append(Row("input unchanged", name, absolute, relative, 0.0, size))
        return rows

    def after_another(self) -> list[Row]:
        """A module that remembers: another batch is told by a fresh copy, and then the first one again."""
        kind, bound = "after another call", tolerances.DETERMINISM[self.dtype]
        before = self._state()

        def work() -> list[Row]:
            others = [self._stirred(v, rep) for v, rep in zip(self.values, self.inputs, strict=True)]
            wanted = self.evaluate(others, net=copy.deepcopy(self.pristine))
            rows = self.compare(kind, self.evaluate(others), {name: wanted[name] for name in self.outputs}, bound)
            back = self.compare(kind, self.evaluate(self.values), self.reference, bound)
            return [max(pair, key=lambda row: row.ratio) for pair in zip(rows, back, strict=True)]

        rows = self.attempt(kind, bound, work)
        after = self._state()
        changed = [name for name in after if name not in before or not torch.equal(before[name], after[name])]
        if changed:
            rows.append(Row(kind, changed[0], float("inf"), float("inf"), 0.0, 0.0, "state of the module"))
        return rows

    def _state(self) -> dict[str, Tensor]:
        if not isinstance(self.net, torch.nn.Module):
            return {}
        return {name: value.clone() for name, value in self.net.state_dict().items()}

    def _stirred(self, value: Any, rep: Representation) -> Any:
        if rep.kind == "shared" or not isinstance(value, Tensor):
            return value
        rolled = value.roll(1, 0)
        return 1.1 * rolled if _floating(value) else rolled

    def elements(self, kind: str) -> Tensor:
        """A random element for each cloud, ``[B, s, s]``."""
        group = self.group
        assert group is not None
        d = group.n
        if kind == "group element":
            return group.sample((self.batch,), self.generator)
        if kind == "translation":
            found = torch.eye(d + 1, dtype=torch.float64).repeat(self.batch, 1, 1)
            found[:, :d, d] = 4 * torch.randn(self.batch, d, generator=self.generator, dtype=torch.float64)
            return found
        found = SO(d).sample((self.batch,), self.generator)
        if kind == "reflection":
            found = torch.cat([-found[..., :1], found[..., 1:]], -1)
        return found

    def moved(self, kind: str) -> list[Row]:
        """Move the inputs by group elements, and compare with the moved outputs."""
        g = self.elements(kind)
        got = self.evaluate([self._act(g, v, rep) for v, rep in zip(self.values, self.inputs, strict=True)])
        wanted = {name: self._act(g, self.reference[name], rep) for name, rep in self.outputs.items()}
        return self.compare(kind, got, wanted, self.bound)

    @staticmethod
    def _act(g: Tensor, value: Any, rep: Representation) -> Any:
        return value if rep.kind in {"shared", "nodes", "edges"} else act(g, value, rep)

    def permutation(self, _: int) -> list[Row]:
        """Put the points of each cloud into another order."""
        orders = torch.rand(self.batch, self.size, generator=self.generator).argsort(-1)
        g = torch.eye(self.size, dtype=torch.float64)[orders]
        mask = None if self.mask is None else act_on_nodes(g, self.mask)
        got = self.evaluate([self._permute(g, v, rep) for v, rep in zip(self.values, self.inputs, strict=True)], mask)
        wanted = {
            name: self._permute(g, self.reference[name], rep, self.per_point[name])
            for name, rep in self.outputs.items()
        }
        return self.compare("permutation", got, wanted, self.bound, mask)

    def _permute(self, g: Tensor, value: Any, rep: Representation, per_point: bool | None = None) -> Any:
        if not self._has_points(value, rep) or per_point is False:
            return value
        return act_on_edges(g, value) if rep.kind == "edges" else act_on_nodes(g, value)

    def _has_points(self, value: Any, rep: Representation) -> bool:
        return rep.kind != "shared" and isinstance(value, Tensor) and value.ndim > 1 and value.shape[1] == self.size

    def alone(self) -> list[Row]:
        """Each cloud by itself gives what it gave in the batch."""
        bound = tolerances.BATCHING[self.dtype]

        def one(k: int) -> list[Row]:
            values = [
                v[k : k + 1] if rep.kind != "shared" else v for v, rep in zip(self.values, self.inputs, strict=True)
            ]
            mask = None if self.mask is None else self.mask[k : k + 1]
            wanted = {name: self.reference[name][k : k + 1] for name in self.outputs}
            return self.compare("batch", self.evaluate(values, mask), wanted, bound, mask)

        return self.worst("batch", bound, one, self.batch)

    def padding(self, any_size: bool) -> list[Row]:
        """What is written where no points are must not matter; nor how much room there is."""
        bound = self.bound
        there = torch.ones(self.batch, self.size, dtype=torch.bool) if self.mask is None else self.mask
        pairs = list(zip(self.values, self.inputs, strict=True))
        work: list[Callable[[int], list[Row]]] = []
        if self.mask is not None:
            work.append(
                lambda _: self.compare(
                    "padding", self.evaluate([self._fill(v, rep, there) for v, rep in pairs]), self.reference, bound
                )
            )
        if any_size:
            work.append(lambda _: self._wider(pairs, there))
            if self.mask is not None:
                work += [lambda _, k=k: self._trimmed(pairs, k) for k in range(self.batch)]  # type: ignore[misc]
        return self.worst("padding", bound, lambda k: work[k](k), len(work))

    def _rubbish(self, shape: Sequence[int]) -> Tensor:
        return 10 * torch.randn(tuple(shape), generator=self.generator, dtype=torch.float64)

    def _fill(self, value: Any, rep: Representation, there: Tensor) -> Any:
        if not self._has_points(value, rep) or not _floating(value):
            return value
        keep = there.reshape(*there.shape, *[1] * (value.ndim - 2))
        rubbish = self._rubbish(value.shape)
        if rep.kind == "edges":
            keep = (there[:, :, None] & there[:, None, :]).reshape(*there.shape, self.size, *[1] * (value.ndim - 3))
            rubbish = rubbish + rubbish.transpose(1, 2)
        return torch.where(keep, value, rubbish)

    def _wider(self, pairs: Sequence[tuple[Any, Representation]], there: Tensor) -> list[Row]:
        more, size = 2, self.size + 2
        mask = torch.nn.functional.pad(there, (0, more))
        wide = []
        for value, rep in pairs:
            if self._has_points(value, rep):
                axes = 2 if rep.kind == "edges" else 1
                room = value.new_zeros(self.batch, *[size] * axes, *value.shape[axes + 1 :])
                room[(slice(None), *[slice(self.size)] * axes)] = value
                value = room
            wide.append(value)
        held, self.size = self.size, size
        try:
            wide = [self._fill(value, rep, mask) for value, (_, rep) in zip(wide, pairs, strict=True)]
        finally:
            self.size = held
        got = self.evaluate(wide, mask)
        short = {
            name: value[:, : self.size] if self.per_point.get(name) and value.ndim > 1 else value
            for name, value in got.items()
        }
        return self.compare("padding", short, self.reference, self.bound)

    def _trimmed(self, pairs: Sequence[tuple[Any, Representation]], k: int) -> list[Row]:
        assert self.mask is not None
        real = self.mask[k].nonzero()[:, 0]
        values = []
        for value, rep in pairs:
            own = value if rep.kind == "shared" else value[k : k + 1]
            if self._has_points(value, rep):
                own = own[:, real]
                own = own[:, :, real] if rep.kind == "edges" else own
            values.append(own)
        got = self.evaluate(values, self.mask[k : k + 1, real])
        # against the same cloud by itself, with its padding: what a batch does to it is another row's business
        padded = [v if rep.kind == "shared" else v[k : k + 1] for v, rep in pairs]
        alone = self.evaluate(padded, self.mask[k : k + 1])
        wanted = {name: alone[name][:, real] if self.per_point[name] else alone[name] for name in self.outputs}
        rows = self.compare("padding", got, wanted, self.bound, self.mask[k : k + 1, real])
        return [row if row.passed else replace(row, part="without padding") for row in rows]

    # -- derivatives

    def _movable(self) -> list[int]:
        kinds = {"points", "tensor", "irreps", "nodes", "edges"}
        return [k for k, rep in enumerate(self.inputs) if rep.kind in kinds and _floating(self.values[k])]

    @staticmethod
    def _axis(mask: Tensor, value: Tensor, axis: int) -> Tensor:
        """The mask ``[B, N]`` in a shape that multiplies along one axis of a value."""
        shape = [1] * value.ndim
        shape[0], shape[axis] = mask.shape
        return mask.reshape(shape).to(value)

    def _directions(self) -> list[dict[int, Tensor]]:
        movable, found = self._movable(), []
        for _ in range(self.trials):
            step = {}
            for k in movable:
                value = self.values[k]
                noise = torch.randn(value.shape, generator=self.generator, dtype=torch.float64)
                if self.inputs[k].kind == "edges":
                    noise = noise + noise.transpose(1, 2)  # an adjacency stays symmetric
                    noise = noise * (1.0 if self.mask is None else self._axis(self.mask, noise, 2))
                if self.mask is not None and self._has_points(value, self.inputs[k]):
                    noise = noise * self._axis(self.mask, noise, 1)
                step[k] = noise * max(tolerances.rms(value), 1e-3)
            found.append(step)
        return found

    def _slope(self, function: Callable[[Sequence[Any]], Tensor], direction: Mapping[int, Tensor], h: float) -> Tensor:
        """The derivative along a direction, by a difference of fourth order."""

        def at(t: float) -> Tensor:
            return function([v + t * direction[k] if k in direction else v for k, v in enumerate(self.values)])

        return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)

    def gradient(self) -> list[Row]:
        """Autograd against finite differences, for scalar outputs: a frame that was detached shows here."""
        names = [name for name, rep in self.outputs.items() if rep.kind == "scalar" and not rep.pseudo]
        if not names or not self._movable():
            return []
        bound = tolerances.FINITE_DIFFERENCE[self.dtype]
        weights = {
            name: torch.randn(self.reference[name].shape, generator=self.generator, dtype=torch.float64)
            for name in names
        }
        for name in names:
            if self.per_point[name] and self.mask is not None:
                shape = (*self.mask.shape, *[1] * (weights[name].ndim - 2))
                weights[name] = weights[name] * self.mask.reshape(shape)

        def work() -> list[Row]:
            rows, directions = [], self._directions()
            inputs = self._inputs(self.values)
            leaves = {k: inputs[k].requires_grad_() for k in self._movable()}
            # a network may write to its input: it gets no leaf
            given = [v.clone() if k in leaves else v for k, v in enumerate(inputs)]
            found = self._raw(self.net, given, None if self.mask is None else self.mask.clone())
            raw = _raw_named(found)
            for name in names:
                total = (raw[name] * weights[name].to(self.dtype)).sum()
                grads: Sequence[Tensor | None] = [None] * len(leaves)
                if total.requires_grad:
                    grads = torch.autograd.grad(total, list(leaves.values()), retain_graph=True, allow_unused=True)
                pairs = list(zip(leaves, grads, strict=True))
                got = [sum(float((g.double() * d[k]).sum()) for k, g in pairs if g is not None) for d in directions]
                rows.append(self._derivative_row("gradient", name, got, directions, self._sum_of(name, weights[name])))
            return rows

        return [row for row in self.attempt("gradient", bound, work) if row.output in names]

    def forces(self, energy: str, forces: str) -> list[Row]:
        """Forces are minus the derivative of the energy, by finite differences."""
        bound = tolerances.FINITE_DIFFERENCE[self.dtype]
        missing = [name for name in (energy, forces) if name not in self.outputs]
        if missing:
            raise ConfigError(f"conservative names {missing[0]!r}, the outputs are {list(self.outputs)}.")
        points = next((k for k, rep in enumerate(self.inputs) if rep.kind == "points"), 0)

        def work() -> list[Row]:
            directions = [{points: d[points]} for d in self._directions()]
            got = [-float((self.reference[forces] * d[points]).sum()) for d in directions]
            return [self._derivative_row("forces", forces, got, directions, self._sum_of(energy, 1.0))]

        return [row for row in self.attempt("forces", bound, work) if row.output == forces]

    def _sum_of(self, name: str, weight: Tensor | float) -> Callable[[Sequence[Any]], Tensor]:
        return lambda values: (self.evaluate(values)[name] * weight).sum()

    def _derivative_row(
        self,
        kind: str,
        name: str,
        got: Sequence[float],
        directions: Sequence[Mapping[int, Tensor]],
        function: Callable[[Sequence[Any]], Tensor],
    ) -> Row:
        """Compare slopes with differences; for each direction the step that agrees best counts."""
        bound, steps = tolerances.FINITE_DIFFERENCE[self.dtype], _STEPS.get(self.dtype, _COARSE_STEPS)
        best = [float("nan")] * len(got)
        size, row = 0.0, Row(kind, name, float("inf"), float("inf"), bound, 0.0)
        for h in steps:
            for k, direction in enumerate(directions):
                slope = float(self._slope(function, direction, h))
                best[k] = slope if not abs(best[k] - got[k]) <= abs(slope - got[k]) else best[k]
            wanted = torch.tensor(best, dtype=torch.float64)
            # where a scalar hardly depends on the coordinates, its rounding is what differences see
            size = max(tolerances.rms(wanted), 1e-3 * tolerances.rms(self.reference[name]))
            absolute, relative = tolerances.relative_error(
                torch.tensor(got, dtype=torch.float64), wanted, self.dtype, size
            )
            row = Row(kind, name, absolute, relative, bound, tolerances.rms(wanted))
            if row.passed:
                break
        return row

    # -- what is asked for

    def mirror_image(self) -> list[Row]:
        """A network that claims to know left from right must not give mirror images the same invariants."""
        if not isinstance(self.group, (SO, SE)):
            raise ConfigError(
                "Mirror images can be told apart under rotations alone: chiral=True needs SO(d) or SE(d)."
            )

        def work() -> list[Row]:
            g = self.elements("reflection")
            got = self.evaluate([self._act(g, v, rep) for v, rep in zip(self.values, self.inputs, strict=True)])
            rows = []
            for name, rep in self.outputs.items():
                wanted = self._act(g, self.reference[name], rep)
                alike = tolerances.relative_error(got[name], wanted, self.dtype, self.scale(name))[1]
                failed = not alike > 10 * self.bound
                worth = float("inf") if failed else 0.0
                rows.append(
                    Row("mirror image", name, worth, worth, 0.0, self.scale(name), "the same" if failed else "")
                )
            return rows

        return self.attempt("mirror image", 0.0, work)

    def continuity(self, degenerate: Sequence[Tensor | Sequence[Any]]) -> list[Row]:
        """The largest jump of the outputs at given inputs, for perturbations that are next to nothing."""

        def one(k: int) -> list[Row]:
            given = degenerate[k]
            base = [given] if isinstance(given, Tensor) else list(given)
            base = [v.detach().double() if _floating(v) else v for v in base]
            first = self.evaluate(base)
            rows = []
            for nudge in _NUDGES:
                seen = [first, *(self.evaluate(self.nudged(base, nudge)) for _ in range(2 * self.trials))]
                for name in self.outputs:
                    stack = torch.stack([outputs[name].double() for outputs in seen])
                    if self.per_point[name] and self.mask is not None and self.mask.shape == stack.shape[1:3]:
                        stack = stack[:, self.mask]
                    size = max(tolerances.rms(stack[0]), self.scale(name))
                    high, low = stack.amax(0), stack.amin(0)
                    absolute, relative = tolerances.relative_error(high, low, self.dtype, size)
                    rows.append(Row("continuity", name, absolute, relative, _STEEPEST * nudge, size))
            return [
                max((row for row in rows if row.output == name), key=lambda row: row.ratio) for name in self.outputs
            ]

        return self.worst("continuity", _STEEPEST * _NUDGES[0], one, len(degenerate))

    def nudged(self, base: Sequence[Any], nudge: float) -> list[Any]:
        """Move all points and tensors by a random fraction of their size."""
        moved = []
        for value, rep in zip(base, self.inputs, strict=True):
            if rep.kind in {"points", "tensor"} and _floating(value):
                noise = torch.randn(value.shape, generator=self.generator, dtype=torch.float64)
                value = value + nudge * max(tolerances.rms(value), 1e-3) * noise
            moved.append(value)
        return moved


def _floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _listed(declared: Any) -> list[Any]:
    return [declared] if isinstance(declared, (str, Irreps, Representation)) else list(declared)


def _raw_named(found: Any) -> dict[str, Tensor]:
    """Outputs by name, with their graph."""
    if isinstance(found, Tensor):
        return {"output": found}
    return dict(found) if isinstance(found, Mapping) else {f"output {k}": value for k, value in enumerate(found)}


def _takes_mask(net: Any) -> bool:
    called = net.forward if isinstance(net, torch.nn.Module) else net
    try:
        return "mask" in inspect.signature(called).parameters
    except (TypeError, ValueError):
        return False
