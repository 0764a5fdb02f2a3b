"""The learning rate as a function of the step, with the little state that a plateau schedule has."""

from __future__ import annotations

import math
from typing import Any

from equitools.errors import ConfigError

__all__ = ["Schedule"]


class Schedule:
    """Factor on the highest learning rate.

    Args:
        kind: ``constant``, ``cosine``, ``exponential`` or ``plateau``.
        total_steps: Where cosine and exponential end.
        warmup_steps: Steps of linear rise.
        min_factor: Where they end, and the lowest that plateau goes.
        factor: Plateau: multiplied by this after ...
        patience: ... so many validations that are no better than the best.

    Properties:
        resumes_exactly: after ``load_state_dict(state_dict())`` all later factors are the same.
    """

    def __init__(
        self,
        kind: str,
        total_steps: int,
        warmup_steps: int = 0,
        min_factor: float = 0.01,
        factor: float = 0.5,
        patience: int = 20,
    ) -> None:
        if kind not in ("constant", "cosine", "exponential", "plateau"):
            raise ConfigError(f"There is no schedule {kind!r}. Known: constant, cosine, exponential, plateau.")
        self.kind, self.total, self.warmup = kind, max(1, total_steps), warmup_steps
        self.min_factor, self.factor, self.patience = min_factor, factor, patience
        self.current, self.best, self.bad = 1.0, math.inf, 0

    def at(self, step: int, time_share: float = 0.0) -> float:
        """Return the factor for a step.

        Args:
            step: Steps done before this one, over all resumes.
            time_share: Share of the wall time that is used up, where the schedule ends with the time.
        """
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        span = max(1, self.total - self.warmup)
        progress = min(1.0, max((step - self.warmup) / span, time_share, 0.0))
        if self.kind == "cosine":
            return rise * (self.min_factor + (1 - self.min_factor) * 0.5 * (1 + math.cos(math.pi * progress)))
        if self.kind == "exponential":
            return rise * max(self.min_factor, 1e-12) ** progress
        return rise * self.current

    def validated(self, score: float) -> None:
        """Tell the schedule a validation score (lower is better)."""
        if score < self.best:
            self.best, self.bad = score, 0
            return
        self.bad += 1
        if self.kind == "plateau" and self.bad > self.patience:
            self.current, self.bad = max(self.min_factor, self.current * self.factor), 0

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive a resume."""
        return {"current": self.current, "best": self.best, "bad": self.bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state."""
        self.current, self.best, self.bad = float(state["current"]), float(state["best"]), int(state["bad"])
