"""Charged particles: networks made equivariant by frames and by canonicalization, trained at their papers' protocols.

    python benchmarks/nbody.py --network fa_gnn --minutes 60     # one network; go on with the same command
    python benchmarks/nbody.py --network cn_gnn --minutes 60
    python benchmarks/nbody.py --collect                         # what is there so far, and the figure

3 000 systems for training, 2 000 for validation and 2 000 for testing, drawn as the published ones are; the mean
squared error of the positions 1 000 steps later; batches of 100; Adam. The test error is that of the weights with the
lowest validation error. A training is counted in minutes of processor time, goes on where it was left, and writes
`runs/nbody/NETWORK`; what all of them reached goes to `benchmarks/results/nbody.json` and `docs/images/nbody.png`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from benchmarks._results import IMAGES, ROOT, command, save
from equitools._atomic import atomic_path, write_text
from equitools.data import NBodyData, charged_nbody
from equitools.graph import Graph
from equitools.groups import random_orthogonal
from equitools.models import CNGNN, EGNN, FAGNN, EGNNConfig, ParticleGNN
from equitools.models.gnn import others

BATCH = 100
#: The longest time in minutes of processor time between two writings of the state.
SAVE_EVERY = 2.0
#: Points of a learning curve that the result file keeps.
POINTS = 200


class Protocol(NamedTuple):
    """How a network is made and trained.

    Attributes:
        make: The network.
        rate: Learning rate.
        decay: Weight decay.
        epochs: Their number.
        every: Epochs between validations.
        patience: Epochs without a better validation error after which a training ends; ``None``: it does not.
        words: What it is.
    """

    make: Callable[[], torch.nn.Module]
    rate: float
    decay: float
    epochs: int
    every: int
    patience: int | None
    words: str


class ChargedEGNN(torch.nn.Module):
    """The library's EGNN with velocities, its charges told apart as two species: fully connected, no envelope."""

    CUTOFF = 1e6  # a number that no distance reaches: every particle hears from all others

    def __init__(self) -> None:
        super().__init__()
        self.net = EGNN(EGNNConfig(
            hidden=64, layers=4, radial=0, velocities=True, envelope=False, cutoff=self.CUTOFF, species=(1, 2)
        ))  # fmt: skip

    def forward(self, loc: Tensor, vel: Tensor, charges: Tensor) -> Tensor:
        """Return later positions ``[B, N, 3]``."""
        size, number = loc.shape[:2]
        first = number * torch.arange(size)[:, None]
        receiver = torch.arange(number).repeat_interleave(number - 1)
        edges = torch.stack([(others(number).flatten() + first).flatten(), (receiver + first).flatten()])
        graph = Graph(
            positions=loc.flatten(0, 1), atomic_numbers=(charges.flatten() > 0).long() + 1,
            cell=loc.new_zeros(size, 3, 3), pbc=torch.zeros(size, 3, dtype=torch.bool),
            batch=torch.arange(size).repeat_interleave(number), edge_index=edges,
            edge_shift=loc.new_zeros(edges.shape[1], 3), cutoff=self.CUTOFF,
            extras={"velocities": vel.flatten(0, 1)}, extra_levels={"velocities": "node"},
        )  # fmt: skip
        return self.net(graph)["positions"].unflatten(0, (size, number))


def _fa_gnn() -> FAGNN:
    # The published code takes the frames as they come, however close the eigenvalues, and as constants.
    return FAGNN(detach=True, frame_options={"threshold": 1e-7})


NETWORKS = {
    "fa_gnn": Protocol(_fa_gnn, 1e-3, 1e-12, 10_000, 5, None, "FA-GNN"),
    "cn_gnn": Protocol(CNGNN, 1e-3, 0.0, 1_000, 1, 600, "CN-GNN"),
    "egnn": Protocol(ChargedEGNN, 5e-4, 1e-12, 10_000, 5, None, "EGNN"),
    "gnn": Protocol(ParticleGNN, 5e-4, 1e-12, 10_000, 5, None, "GNN, not equivariant"),
}
#: Mean squared errors of others on the same task, and how they are known. Those that are only recalled are not checked.
REFERENCES = {
    "FA-GNN": (0.0057, "recalled from Puny et al., ICLR 2022"),
    "CN-GNN": (0.0043, "recalled from Kaba et al., ICML 2023"),
    "EGNN": (0.0071, "published, Satorras et al., ICML 2021"),
    "GNN": (0.0107, "published, Satorras et al., ICML 2021"),
}


class Convolutions(TorchFunctionMode):
    """Linear maps of many rows as convolutions with a kernel of one point: the same numbers from another library.

    On processors that are not Intel's, the library behind linear maps leaves half of the vector unit idle; the one
    behind convolutions does not. A step of these networks takes three quarters of the time.
    """

    ROWS, PARTS = 2500, 20

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace `torch.nn.functional.linear`; call anything else."""
        if func is not functional.linear:
            return func(*args, **(kwargs or {}))
        return self._linear(*args, **(kwargs or {}))

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rows = x.numel() // max(x.shape[-1], 1)
        if rows < self.ROWS or rows % self.PARTS:
            return functional.linear(x, weight, bias)
        image = x.reshape(self.PARTS, 1, rows // self.PARTS, -1).permute(0, 3, 1, 2)
        out = functional.conv2d(image, weight[:, :, None, None], bias)
        return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def mean_square(network: torch.nn.Module, data: NBodyData) -> float:
    """Return the mean squared error of positions."""
    network.eval()
    total = 0.0
    with torch.no_grad():
        for k in range(0, len(data.loc), BATCH):
            loc, vel, charges, target = (part[k : k + BATCH] for part in data)
            total += float((network(loc, vel, charges) - target).square().sum(dtype=torch.float64))
    return total / data.target.numel()


def equivariance(network: torch.nn.Module, data: NBodyData) -> float:
    """Return by how much the answer is off in double precision when systems are turned, reflected and moved."""
    double = network.double().eval()
    loc, vel, charges = (part[:BATCH].double() for part in data[:3])
    generator = torch.Generator().manual_seed(0)
    turn = random_orthogonal((len(loc),), dtype=torch.float64, generator=generator).mT
    move = torch.randn(len(loc), 1, 3, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        error = (double(loc @ turn + move, vel @ turn, charges) - double(loc, vel, charges) @ turn - move).abs().max()
    network.float()
    return float(error)


class Training:
    """A training that can be left and taken up.

    Args:
        name: Of `NETWORKS`.
        folder: Where its state is.
        seed: Of the weights and of the order of the systems.
    """

    def __init__(self, name: str, folder: Path, seed: int = 0) -> None:
        self.name, self.seed, self.protocol = name, seed, NETWORKS[name]
        self.state, self.report = folder / name / "training.pt", folder / name / "result.json"
        torch.manual_seed(seed)
        self.network = self.protocol.make()
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.protocol.rate, weight_decay=self.protocol.decay, fused=True
        )
        self.epoch, self.seconds = 0, 0.0
        self.curve: list[list[float]] = []  # epochs, minutes, training error, validation error
        self.best: dict[str, Any] = {"epoch": 0, "valid": float("inf"), "weights": self._weights()}
        self.random: Tensor | None = None  # where the stream of dropout was left
        if self.state.exists():
            self._restore()

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def _restore(self) -> None:
        known = torch.load(self.state, weights_only=True)
        if known["seed"] != self.seed:
            raise SystemExit(f"{self.state} is of seed {known['seed']}, not {self.seed}: remove it, or give that seed.")
        self.network.load_state_dict(known["network"])
        self.optimizer.load_state_dict(known["optimizer"])
        for field in ("epoch", "seconds", "curve", "best"):
            setattr(self, field, known[field])
        self.random = known.get("random")

    def save(self) -> None:
        """Write the state whole."""
        fields = {field: getattr(self, field) for field in ("seed", "epoch", "seconds", "curve", "best")}
        fields |= {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        with atomic_path(self.state) as path:
            torch.save({**fields, "random": torch.get_rng_state()}, path)

    @property
    def ended(self) -> bool:
        """Whether the protocol is through."""
        patience = self.protocol.patience
        return self.epoch >= self.protocol.epochs or (
            patience is not None and self.epoch - self.best["epoch"] >= patience
        )

    def one_epoch(self, data: NBodyData) -> float:
        """Train with every system once, in an order that only the seed and the epoch decide; return the loss."""
        self.network.train()
        order = torch.randperm(
            len(data.loc), generator=torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        )
        total = 0.0
        batches = order.split(BATCH)
        for rows in batches:
            loc, vel, charges, target = (part[rows] for part in data)
            loss = functional.mse_loss(self.network(loc, vel, charges), target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(batches)

    def run(self, data: dict[str, NBodyData], minutes: float) -> None:
        """Train until the time is up or the protocol is through, then test.

        Args:
            data: The parts.
            minutes: Of processor time, those of earlier runs included.
        """
        if self.random is not None:
            torch.set_rng_state(self.random)
        before, saved = time.process_time() - self.seconds, self.seconds
        with Convolutions():
            while not self.ended and self.seconds < 60 * minutes:
                loss = self.one_epoch(data["train"])
                self.epoch += 1
                if self.epoch % self.protocol.every == 0 or self.epoch == 1:
                    valid = mean_square(self.network, data["valid"])
                    self.curve.append([self.epoch, (time.process_time() - before) / 60, loss, valid])
                    if valid < self.best["valid"]:
                        self.best = {"epoch": self.epoch, "valid": valid, "weights": self._weights()}
                    if len(self.curve) % 5 == 1:
                        print(self.line(loss, valid), flush=True)
                self.seconds = time.process_time() - before
                if self.seconds - saved > 60 * SAVE_EVERY:
                    self.save()
                    saved = self.seconds
        self.save()
        self.finish(data["test"])

    def line(self, loss: float, valid: float) -> str:
        """Return how far it is."""
        return (
            f"{self.name} epoch {self.epoch} of {self.protocol.epochs}: training {loss:.5f}, validation {valid:.5f}, "
            f"best {self.best['valid']:.5f} at {self.best['epoch']}, {self.curve[-1][1]:.1f} CPU minutes"
        )

    def finish(self, test: NBodyData) -> None:
        """Test the best weights and write what was reached."""
        network = self.protocol.make()
        network.load_state_dict(self.best["weights"])
        step = max(1, -(-len(self.curve) // POINTS))
        result = {
            "network": self.name,
            "seed": self.seed,
            "epochs": self.epoch,
            "epochs_asked": self.protocol.epochs,
            "ended": self.ended,
            "patience": self.protocol.patience,
            "rate": self.protocol.rate,
            "weight_decay": self.protocol.decay,
            "cpu_minutes": round(self.seconds / 60, 2),
            "threads": torch.get_num_threads(),
            "parameters": sum(p.numel() for p in network.parameters()),
            "best_epoch": self.best["epoch"],
            "valid_mse": self.best["valid"],
            "test_mse": mean_square(network, test),
            "equivariance_error": equivariance(network, test),
            "curve": [[row[0], *(float(f"{v:.5g}") for v in row[1:])] for row in self.curve[::step]],
        }
        write_text(self.report, json.dumps(result, indent=1) + "\n")
        print(f"{self.name}: test {result['test_mse']:.5f} after {self.epoch} epochs", flush=True)


def test_all(folder: Path, test: NBodyData) -> None:
    """Test what the trainings of a folder have reached, those that still run included.

    Args:
        folder: With a folder for each network.
        test: The systems.
    """
    for name in NETWORKS:
        state = folder / name / "training.pt"
        if state.exists():
            seed = torch.load(state, weights_only=True)["seed"]
            Training(name, folder, seed).finish(test)


def collect(folder: Path, output: Path | None = None, picture: Path | None = None) -> Path:
    """Gather the results of the trainings of a folder into one file, and draw them.

    Args:
        folder: With a folder for each network.
        output: The result file; ``None``: the one of the repository.
        picture: The figure; ``None``: none.

    Returns:
        The result file.
    """
    rows = [
        json.loads(path.read_text(encoding="utf-8"))
        for name in NETWORKS
        if (path := folder / name / "result.json").exists()
    ]
    result = {
        "complete": {"fa_gnn", "cn_gnn"} <= {row["network"] for row in rows},
        "trainings": rows,
        "references": {name: {"mse": value, "known": known} for name, (value, known) in REFERENCES.items()},
    }
    written = save("nbody", command("nbody.py"), result, output)
    if picture is not None and rows:
        draw(result, picture)
    return written


def draw(result: dict[str, Any], picture: Path) -> None:
    """Draw validation errors against epochs and processor time, beside what others reached."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for row in result["trainings"]:
        for axis, column in zip(axes, (0, 1), strict=True):
            label = NETWORKS[row["network"]].words
            axis.plot([p[column] for p in row["curve"]], [p[3] for p in row["curve"]], label=label, linewidth=1)
    for axis, label in zip(axes, ("epochs", "minutes of processor time, one thread"), strict=True):
        for k, (name, known) in enumerate(result["references"].items()):
            word = known["known"].split()[0].rstrip(",")
            axis.axhline(
                known["mse"], color="gray", linestyle=(":", "-.", "--", (0, (5, 1)))[k % 4], linewidth=0.8,
                label=f"{name}, test, {word}",
            )  # fmt: skip
        axis.set(xlabel=label, xscale="log", yscale="log")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("validation MSE")
    axes[1].legend(fontsize=7)
    figure.tight_layout()
    with atomic_path(picture) as path:
        figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main() -> None:
    """Train one network, or gather what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=list(NETWORKS))
    parser.add_argument("--minutes", type=float, default=60.0, help="of processor time for this network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "nbody")
    parser.add_argument("--collect", action="store_true", help="train nothing, test and write what there is")
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    if arguments.collect == (arguments.network is not None):
        parser.error("give either --network or --collect")
    torch.set_num_threads(1)
    data = charged_nbody(cache=ROOT / ".bench" / "nbody_data.npz")
    if arguments.collect:
        test_all(arguments.runs, data["test"])
    else:
        Training(arguments.network, arguments.runs, arguments.seed).run(data, arguments.minutes)
    picture = IMAGES / "nbody.png" if arguments.output is None else arguments.output.with_suffix(".png")
    print(f"wrote {collect(arguments.runs, arguments.output, picture)}")


if __name__ == "__main__":
    main()
