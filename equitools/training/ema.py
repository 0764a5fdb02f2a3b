"""A running average of the weights, which is validated and saved instead of the weights themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of a module's parameters.

    Early on, the decay is ``min(decay, (1 + t)/(10 + t))`` after t updates, so that the random initial weights are
    forgotten soon.

    Args:
        module: Whose parameters are followed.
        decay: Share of the old average kept in one update; None: the average is the weights themselves.

    Properties:
        swap_restores: after `applied` the module has its own weights again, bit for bit, whatever happened inside.
    """

    def __init__(self, module: torch.nn.Module, decay: float | None) -> None:
        self.decay, self.updates = decay, 0
        self._live = [parameter for parameter in module.parameters() if parameter.is_floating_point()]
        self._average = [] if decay is None else [parameter.detach().clone() for parameter in self._live]

    def update(self) -> None:
        """Follow the weights after an optimiser step."""
        if self.decay is None:
            return
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            torch._foreach_lerp_(self._average, [parameter.detach() for parameter in self._live], 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the module for the time of a ``with`` block."""
        if self.decay is None:
            yield
            return
        own = [parameter.detach().clone() for parameter in self._live]
        self._copy(self._average)
        try:
            yield
        finally:
            self._copy(own)

    def _copy(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._live, values, strict=True):
                parameter.copy_(value)

    def to(self, device: torch.device) -> None:
        """Move the average to where the module is."""
        self._average = [value.to(device) for value in self._average]

    def state_dict(self) -> dict[str, object]:
        """Return what must survive a resume: plain tensors and numbers."""
        return {"updates": self.updates, "average": [value.clone() for value in self._average]}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take over a state."""
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        average = state["average"]
        for mine, theirs in zip(self._average, average, strict=True):  # type: ignore[call-overload]
            mine.copy_(theirs)
