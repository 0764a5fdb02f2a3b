"""A classifier of upright clouds, adapted to rotations in several ways: `examples/adapt_point_cloud.py`, measured.

    python benchmarks/adaptation.py            # minutes of one core for each seed
    python benchmarks/adaptation.py --quick    # does it run? Writes .bench/adaptation.json

Every way starts from the same trained classifier, but for the one that is trained with turned clouds from the
beginning. Writes `benchmarks/results/adaptation.json` and `docs/images/adaptation.png`.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import IMAGES, ROOT, command, save
from equitools.data.solids import solids
from equitools.models import EnergyCanonicalizer
from equitools.symmetrize import Canonicalize, FrameAverage, StochasticFrameAverage

#: Rows of the table, in its order.
WAYS = (
    "original", "augmentation", "frames", "frames, tuned", "confidence", "vectors", "vectors, tuned", "poses",
    "poses, tuned",
)  # fmt: skip


def example() -> ModuleType:
    """Return `examples/adapt_point_cloud.py` as a module."""
    spec = importlib.util.spec_from_file_location("adapt_example", ROOT / "examples" / "adapt_point_cloud.py")
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the file is there
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def confident(parts: ModuleType, net: torch.nn.Module) -> Canonicalize:
    """Return the classifier in the pose that it is most sure of, among those of principal axes; nothing is trained."""
    pose = parts.by_poses()
    sure = EnergyCanonicalizer(
        lambda y: -net(y).log_softmax(-1).amax(-1), "SO(3)", starts=pose.starts, steps=0, differentiate="none"
    )
    return Canonicalize(net, sure, "points", "scalar").eval()


def tuned_frames(parts: ModuleType, net: torch.nn.Module, sets: Any, epochs: int, seed: int) -> torch.nn.Module:
    """Train the classifier further on random frames, and return its average over all of them."""
    torch.manual_seed(seed)
    model = StochasticFrameAverage(net, "SO(3)").train()
    parts.fit(model.parameters(), lambda x, y: torch.nn.functional.cross_entropy(model(x), y), sets.train, epochs, seed)
    return model.eval()


def measure(
    parts: ModuleType,
    seed: int,
    sizes: dict[str, int],
    ways: tuple[str, ...] = WAYS,
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Return a row of each way.

    Args:
        parts: The example.
        seed: Of the data, the networks and the trainings.
        sizes: ``train``, ``test``, ``pretrain`` and ``adapt``: clouds and epochs.
        ways: Which of `WAYS`.
        keep: Called with each row as soon as it is there.
    """
    sets = parts.make_sets(sizes["train"], sizes["test"], seed)
    start = time.process_time()
    original = parts.pretrain(sets.train, sizes["pretrain"], seed)
    trained = time.process_time() - start
    net = original

    def adapted(kind: str, frozen: bool) -> torch.nn.Module:
        return parts.adapt(net, sets.train, kind, sizes["adapt"], seed=seed, frozen=frozen)

    make: dict[str, Callable[[], torch.nn.Module]] = {
        "original": lambda: net,
        "augmentation": lambda: parts.pretrain(sets.train, sizes["pretrain"] + sizes["adapt"], seed, turn=True),
        "frames": lambda: FrameAverage(net, "SO(3)").eval(),
        "frames, tuned": lambda: tuned_frames(parts, net, sets, sizes["adapt"], seed),
        "confidence": lambda: confident(parts, net),
        "vectors": lambda: adapted("vectors", True),
        "vectors, tuned": lambda: adapted("vectors", False),
        "poses": lambda: adapted("poses", True),
        "poses, tuned": lambda: adapted("poses", False),
    }
    rows = []
    for way in ways:
        net = copy.deepcopy(original)
        start = time.process_time()
        model = make[way]()
        seconds = trained if way == "original" else time.process_time() - start
        row: dict[str, Any] = {"way": way, "seed": seed, "cpu_seconds": round(seconds, 1)}
        row |= parts.accuracy(model, sets)
        if isinstance(model, Canonicalize):
            row["identity"] = parts.identity_share(model, sets)
        rows.append(row)
        if keep is not None:
            keep(row)
        print(f"seed {seed}, {way}: upright {row['upright']:.1f} %, turned {row['turned']:.1f} %", flush=True)
    return rows


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the solids, and bars of both accuracies (the mean of the seeds)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = result["protocol"]["classes"]
    figure = plt.figure(figsize=(10, 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1, 2.2])
    for k, name in enumerate(names):
        axes = above.add_subplot(1, len(names), k + 1, projection="3d")
        cloud = solids(1, 400, 3, 0.0, [name]).points[0].numpy()
        axes.scatter(*cloud.T, s=1.0, c=cloud[:, 1], cmap="viridis", linewidths=0)
        axes.set_box_aspect((1, 1, 1), zoom=1.5)
        axes.set(xlim=(-0.8, 0.8), ylim=(-0.8, 0.8), zlim=(-0.8, 0.8))
        axes.set_axis_off()
        axes.set_title(name.replace("_", " "), fontsize=7, y=-0.12)
    axes = below.subplots()
    ways = [way for way in WAYS if any(row["way"] == way for row in result["rows"])]
    for shift, (key, colour) in enumerate({"upright": "#4c72b0", "turned": "#dd8452"}.items()):
        values = []
        for way in ways:
            of_way = [row[key] for row in result["rows"] if row["way"] == way]
            values.append(sum(of_way) / len(of_way))
        axes.bar([k + 0.4 * (shift - 0.5) for k in range(len(ways))], values, 0.38, label=key, color=colour)
    axes.set_xticks(range(len(ways)), [way.replace(", ", ",\n") for way in ways], fontsize=8)
    axes.set(ylabel="test accuracy in %", ylim=(0, 100))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts = example()
    sizes = {"train": parts.TRAIN, "test": parts.TEST, "pretrain": parts.PRETRAIN, "adapt": parts.ADAPT}
    if arguments.quick:
        sizes = {"train": 26, "test": 13, "pretrain": 1, "adapt": 1}
    path = arguments.output or (ROOT / ".bench" / "adaptation.json" if arguments.quick else None)
    protocol = {
        **sizes,
        "points": parts.POINTS,
        "noise": parts.NOISE,
        "choose": parts.CHOOSE,
        "classes": list(parts.CLASSES),
    }
    result: dict[str, Any] = {"protocol": protocol, "rows": [], "complete": False}
    ran = command("adaptation.py")

    def keep(row: dict[str, Any]) -> None:
        result["rows"].append(row)
        save("adaptation", ran, result, path)

    for seed in range(1 if arguments.quick else arguments.seeds):
        measure(parts, seed, sizes, keep=keep)
    result["complete"] = True
    print(f"wrote {save('adaptation', ran, result, path)}")
    draw(result, IMAGES / "adaptation.png" if path is None else path.with_suffix(".png"))


if __name__ == "__main__":
    main()
