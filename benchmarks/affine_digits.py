"""Trained on upright digits, tested under affine maps: a network over ℝ²⋊GL⁺(2) and the plain one beside it.

    python benchmarks/affine_digits.py --choose   # learning rates and epochs, on a part of the training digits
    python benchmarks/affine_digits.py            # the table; can be interrupted and taken up again
    python benchmarks/affine_digits.py --quick    # does it run? Writes .bench/affine_digits.json

The digits are scikit-learn's, 14 pixels in 28, which are the proportions of affNIST. No network but "augmented" sees a
transformed digit in training. All have the same numbers of epochs and of steps and, within 2 %, of parameters. What the
networks are like and the learning rates were chosen by transformed *validation* digits, which are part of the training
set of the table. Each network is tested on pictures as they are, and with a wider empty border around them: a digit
that touches the border is hard for a network that has never seen one there.

"cnn" and "mean" are usual small networks: two convolutions with maximum pooling, and a dense layer of all that is left,
or of its mean over positions. "plain" is the network over groups without the group, with a maximum over all positions;
"zeros" is that with zeros around features in place of repeated borders. "augmented" is "zeros" again, but trained on
digits under maps of affNIST's ranges: no competitor, it shows how much there is to be gained.
Writes `benchmarks/results/affine_digits.json` and `docs/images/affine_digits.png`, or
`benchmarks/results/affine_digits_choice.json`. Finished trainings lie in `.bench/affine_digits`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import IMAGES, ROOT, command, save
from equitools._atomic import write_text
from equitools.data import (
    AFFNIST_RANGES,
    WIDE_RANGES,
    AffineRanges,
    DigitImages,
    affine_images,
    stratified_split,
    upright_digits,
)
from equitools.models.images import LieClassifier, matched_cnn, num_parameters
from equitools.nn import PolarSampler

NETWORKS = ("cnn", "mean", "zeros", "plain", "augmented", "sl", "gl")
SEEDS = (1, 2, 3)
CHOICE = 0
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
COUNTS = (1, 2, 4, 8, 16)
PLAIN = {
    "cnn": "usual CNN, dense",
    "mean": "usual CNN, mean",
    "augmented": "plain, sees affine maps",
    "zeros": "plain, zeros around",
    "plain": "plain",
}
GROUPS = {"gl": "GL+(2)", "sl": "SL(2)", "sim": "SIM(2)", "so": "SO(2)"}
#: What is published for the real homNIST, in %; another set and another size of networks, not to be compared with ours.
PUBLISHED = {
    "LieDecomp": "98.30 ± 0.10",
    "Neural Isometries, with triplet loss": "97.38 ± 0.23",
    "homConv (MacDonald et al.)": "95.71 ± 0.09",
}


@dataclass(frozen=True)
class Protocol:
    """What all rows share, and the sampler of the networks over groups."""

    size: int = 28
    digit: int = 14
    test: int = 360
    valid: int = 287
    epochs: int = 50
    batch: int = 32
    rates: tuple[tuple[str, float], ...] = (("cnn", 0.005), ("mean", 0.02), ("plain", 0.005), ("groups", 0.01))
    weight_decay: float = 1e-3
    copies: int = 2
    samples: int = 6
    eval_samples: int = 24
    angle: float = 0.5
    spread: float = 0.15
    border: int = 4
    width: int = 16

    def rate(self, name: str) -> float:
        """Return the learning rate of a network."""
        return dict(self.rates).get(name, dict(self.rates)["groups" if name in GROUPS else "plain"])


QUICK = Protocol(28, 14, 1700, 40, 1, 32, copies=1, samples=2, eval_samples=2, width=4)


#: Network, learning rate, epochs.
CANDIDATES = [
    *((name, rate, 50) for name in ("cnn", "mean", "zeros", "plain") for rate in (0.002, 0.005, 0.01, 0.02)),
    *((name, 0.005, epochs) for name in ("zeros", "plain") for epochs in (25, 100)),
    *((name, 0.01, epochs) for name in ("sl", "gl") for epochs in (50, 100)),
]
QUICK_CANDIDATES = [("plain", 0.01, 1), ("gl", 0.01, 1)]


@dataclass(frozen=True)
class Sets:
    """Upright digits for training, and what is tested on."""

    train: DigitImages
    held: dict[str, DigitImages]


def make_sets(protocol: Protocol, part: str) -> Sets:
    """Return the sets of the table (``"test"``), or those of the choice (``"valid"``), which know no test digit."""
    digits = upright_digits(protocol.size, protocol.digit)
    rest, test = stratified_split(digits.labels, protocol.test, 0)
    train, held = digits.part(rest), digits.part(test)
    if part == "valid":
        first, second = stratified_split(train.labels, protocol.valid, 1)
        train, held = train.part(first), train.part(second)
    seed = {"test": 100, "valid": 200}[part]
    sets = {"upright": held, "affine": affine_images(held, AFFNIST_RANGES, protocol.copies, seed)}
    sets["wide"] = affine_images(held, WIDE_RANGES, protocol.copies, seed + 1)
    return Sets(train, sets)


def usual_cnn(parameters: int, size: int, ending: str, classes: int = 10) -> torch.nn.Sequential:
    """Return convolution, pooling, convolution, pooling and a dense layer, with about so many parameters.

    Args:
        parameters: The number wanted.
        size: Side of the pictures.
        ending: What the last layer sees: ``"cnn"``: everything; ``"mean"``: the mean over positions.
        classes: Number of outputs.
    """
    left = (size // 4) ** 2 if ending == "cnn" else 1
    widths = [(w, w) for w in range(1, 200)]
    if ending == "mean":  # twice as many channels where the picture is half as large
        widths = [(w, 2 * w + more) for w in range(1, 200) for more in (0, 1, 2)]

    def count(first: int, second: int) -> int:
        return 26 * first + (25 * first + 1) * second + (left * second + 1) * classes

    first, second = min(widths, key=lambda pair: abs(count(*pair) - parameters))
    return torch.nn.Sequential(
        *(torch.nn.Conv2d(1, first, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Conv2d(first, second, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *((torch.nn.AdaptiveAvgPool2d(1),) if ending == "mean" else ()),
        *(torch.nn.Flatten(), torch.nn.Dropout(0.2), torch.nn.Linear(left * second, classes)),
    )


def build(name: str, protocol: Protocol) -> torch.nn.Module:
    """Return a network of `NETWORKS`, all with the parameters of the one over GL⁺(2), up to 2 %."""
    sampler = {"angle": protocol.angle, "spread": protocol.spread}
    counts = {"samples": protocol.samples, "eval_samples": protocol.eval_samples}
    if name in GROUPS:
        return LieClassifier(group=GROUPS[name], **sampler, **counts, width=protocol.width)  # type: ignore[arg-type]
    state = torch.get_rng_state()
    wanted = num_parameters(build("gl", protocol))
    torch.set_rng_state(state)
    if name in {"cnn", "mean"}:
        return usual_cnn(wanted, protocol.size, name)
    return matched_cnn(wanted, padding_mode="replicate" if name == "plain" else "zeros")


def train(
    name: str, digits: DigitImages, protocol: Protocol, seed: int, rate: float | None = None, epochs: int | None = None
) -> torch.nn.Module:
    """Return a trained network: AdamW, one cycle of the learning rate, cross-entropy."""
    torch.manual_seed(seed)
    net = build(name, protocol)
    rate = protocol.rate(name) if rate is None else rate
    epochs = protocol.epochs if epochs is None else epochs
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=protocol.weight_decay)
    steps = len(digits.labels) // protocol.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * steps, pct_start=0.2)
    net.train()
    for epoch in range(epochs):
        seen = affine_images(digits, AFFNIST_RANGES, 1, 1000 * seed + epoch) if name == "augmented" else digits
        order = torch.randperm(len(seen.labels))[: steps * protocol.batch].view(steps, protocol.batch)
        for index in order:
            loss = torch.nn.functional.cross_entropy(net(seen.images[index]), seen.labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def logits(net: torch.nn.Module, images: Tensor, **arguments: Any) -> Tensor:
    """Return the outputs for many images."""
    return torch.cat([net(part, **arguments) for part in images.split(96)])


def accuracy(net: torch.nn.Module, digits: DigitImages) -> float:
    """Return the accuracy in %."""
    return 100 * float((logits(net, digits.images).argmax(1) == digits.labels).double().mean())


def measure(name: str, seed: int, sets: Sets, protocol: Protocol) -> dict[str, Any]:
    """Train a network and return its row: accuracies, also by strength, and for groups the invariance errors."""
    start = time.process_time()
    net = train(name, sets.train, protocol, seed)
    row: dict[str, Any] = {"network": name, "seed": seed, "parameters": num_parameters(net)}
    row["cpu_seconds"] = round(time.process_time() - start, 1)
    row |= {key: accuracy(net, held) for key, held in sets.held.items()}
    wider = {key: DigitImages(_padded(held.images, protocol.border), held.labels) for key, held in sets.held.items()}
    if name not in {"cnn", "mean"}:  # a dense layer knows one size, and a mean is thinned by what is empty
        row |= {f"{key}_border": accuracy(net, held) for key, held in wider.items()}
    upright = sets.held["upright"]
    row["strength"] = [
        [s, accuracy(net, affine_images(upright, replace(AFFNIST_RANGES.scaled(s), translation=False), 1, 300))]
        for s in STRENGTHS
    ]
    if isinstance(net, LieClassifier):
        few = upright.part(torch.arange(min(24, len(upright.labels))))
        row["invariance"] = {kind: invariance(net, few, kind) for kind in ("log_normal", "weighted")}
    return row


def _padded(images: Tensor, border: int) -> Tensor:
    return torch.nn.functional.pad(images, (border,) * 4)


def invariance(net: LieClassifier, digits: DigitImages, estimator: str) -> list[list[float]]:
    """Return pairs of a number of samples and the invariance error.

    The error is the difference of the logits of a digit and of the digit moved by a linear map of affNIST's ranges with
    samples drawn for each on its own: root mean square, relative to the standard deviation of the logits over digits.
    """
    sampler = net.sampler
    drawn = PolarSampler(sampler.chart, sampler.spread, sampler.angle, estimator)
    moved = affine_images(digits, replace(AFFNIST_RANGES, translation=False), 1, 400)
    found = []
    for count in COUNTS:
        errors, spreads = [], []
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            one, two = (logits(net, x.images, samples=drawn.draw(count, generator)) for x in (digits, moved))
            errors.append((one - two).square().mean())
            spreads.append((one - one.mean(0)).square().mean())
        found.append([count, float((torch.stack(errors).mean() / torch.stack(spreads).mean()).sqrt())])
    return found


def choose(protocol: Protocol, candidates: list[tuple[str, float, int]]) -> Iterator[dict[str, Any]]:
    """Give validation accuracies for learning rates and numbers of epochs; the test digits are not made use of."""
    sets = make_sets(protocol, "valid")
    for name, rate, epochs in candidates:
        net = train(name, sets.train, protocol, CHOICE, rate, epochs)
        row: dict[str, Any] = {"network": name, "rate": rate, "epochs": epochs}
        row |= {key: accuracy(net, held) for key, held in sets.held.items()}
        yield row


def draw(result: dict[str, Any], path: Path, protocol: Protocol) -> None:
    """Draw digits, accuracy by strength, and invariance error by the number of samples."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(10, 5.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.8])
    digits = upright_digits(protocol.size, protocol.digit).part(torch.arange(10))
    rows = {"upright": digits, "affNIST's ranges": affine_images(digits, AFFNIST_RANGES, 1, 5)}
    rows["wide ranges"] = affine_images(digits, WIDE_RANGES, 1, 6)
    axes = above.subplots(3, 1)
    for panel, (title, shown) in zip(axes, rows.items(), strict=True):
        panel.imshow(torch.cat(list(1 - shown.images[:, 0]), 1).numpy(), cmap="gray")
        panel.set(xticks=[], yticks=[])
        panel.set_ylabel(title, fontsize=7, rotation=0, ha="right", va="center")
    left, right = below.subplots(1, 2)
    colours = {
        "plain": "#dd8452",
        "zeros": "#c44e52",
        "cnn": "#7f7f7f",
        "mean": "#b5a000",
        "augmented": "#000000",
        "gl": "#4c72b0",
        "sl": "#55a868",
        "sim": "#8172b3",
        "so": "#937860",
    }
    for name in sorted({row["network"] for row in result["rows"]}):
        chosen = [row for row in result["rows"] if row["network"] == name]
        mean = [sum(row["strength"][k][1] for row in chosen) / len(chosen) for k in range(len(STRENGTHS))]
        label = f"over {GROUPS[name]}" if name in GROUPS else PLAIN[name]
        left.plot(STRENGTHS, mean, "o-", color=colours[name], label=label)
        for row in chosen:
            left.plot(*zip(*row["strength"], strict=True), ".", color=colours[name], markersize=3)
            for kind, style in (("log_normal", "-"), ("weighted", "--")):
                if "invariance" in row:
                    first = row is chosen[0]
                    right.loglog(
                        *zip(*row["invariance"][kind], strict=True), style, color=colours[name], marker=".",
                        label=f"{label}, {kind}" if first else None,
                    )  # fmt: skip
    left.set(
        xlabel="strength of rotation, shear and scaling (1: affNIST's)", ylabel="test accuracy in %", ylim=(0, 101)
    )
    right.set(xlabel="elements of H drawn", ylabel="invariance error of the logits")
    for panel in (left, right):
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def ranges_of(ranges: AffineRanges) -> dict[str, Any]:
    """Return ranges as they stand in the result."""
    return {**asdict(ranges), "scale": list(ranges.scale)}


def main() -> None:
    """Run the table, or the choice before it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--networks", nargs="+", choices=(*PLAIN, *GROUPS), default=list(NETWORKS))
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    protocol = QUICK if arguments.quick else Protocol()
    name = "affine_digits_choice" if arguments.choose else "affine_digits"
    path = arguments.output or (ROOT / ".bench" / f"{name}.json" if arguments.quick else None)
    ran = command("affine_digits.py")
    result: dict[str, Any] = {
        "protocol": asdict(protocol) | {"rates": dict(protocol.rates)},
        "ranges": {"affine": ranges_of(AFFNIST_RANGES), "wide": ranges_of(WIDE_RANGES)},
        "published": PUBLISHED,
    }
    if arguments.choose:
        rows: list[dict[str, Any]] = []
        for row in choose(protocol, QUICK_CANDIDATES if arguments.quick else CANDIDATES):
            rows.append(row)
            save(name, ran, result | {"rows": rows}, path)
            print(row, flush=True)
        return
    sets = make_sets(protocol, "test")
    result |= {"train": len(sets.train.labels), "rows": [], "complete": False}
    parts = ROOT / ".bench" / ("affine_digits_quick" if arguments.quick else "affine_digits")
    parts.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS[: 1 if arguments.quick else None]:
        for network in arguments.networks:
            file = parts / f"{network}_{seed}.json"
            key = json.loads(json.dumps({**asdict(protocol), "rates": protocol.rate(network)}))
            known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
            row = known["row"] if known.get("protocol") == key else measure(network, seed, sets, protocol)
            write_text(file, json.dumps({"protocol": key, "row": row}))
            result["rows"].append(row)
            save(name, ran, result, path)
            print(f"{network}, seed {seed}: " + ", ".join(f"{k} {row[k]:.1f} %" for k in sets.held), flush=True)
    result["complete"] = True
    print(f"wrote {save(name, ran, result, path)}")
    draw(result, IMAGES / "affine_digits.png" if path is None else path.with_suffix(".png"), protocol)


if __name__ == "__main__":
    main()
