"""A classifier of upright clouds, adapted to rotations: `examples/adapt_point_cloud.py`, measured.

    python benchmarks/adaptation.py --choose   # how long to adapt, on the validation set of a seed that is not reported
    python benchmarks/adaptation.py            # the table: two to three minutes of one core for each of three seeds
    python benchmarks/adaptation.py --quick    # does it run? Writes .bench/adaptation.json

Training, validation and test sets have seeds of their own. The number of epochs and the canonicalizer were chosen on
the validation set of `CHOICE`; the seeds of the table, `SEEDS`, were not looked at before. Of each seed one classifier
is trained, and the others start from it, but for the one that is trained with turned clouds from the beginning. Writes
`benchmarks/results/adaptation.json` and `docs/images/adaptation.png`, or `benchmarks/results/adaptation_choice.json`.
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
from equitools.symmetrize import Canonicalize, FrameAverage

#: Rows of the table, in its order.
WAYS = ("original", "augmentation", "frames", "adapted")
CHOICE = 90
SEEDS = (11, 12, 13)
#: What was compared: epochs of adaptation.
CANDIDATES = (12, 25)


def example() -> ModuleType:
    """Return `examples/adapt_point_cloud.py` as a module."""
    spec = importlib.util.spec_from_file_location("adapt_example", ROOT / "examples" / "adapt_point_cloud.py")
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the file is there
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def measure(
    parts: ModuleType,
    seed: int,
    sizes: dict[str, int],
    ways: tuple[str, ...] = WAYS,
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Return a row of each way: accuracies on the test set, and on the validation set.

    Args:
        parts: The example.
        seed: Of the data, the networks and the trainings.
        sizes: ``train``, ``held``, ``pretrain`` and ``adapt``: clouds and epochs.
        ways: Which of `WAYS`.
        keep: Called with each row as soon as it is there.
    """
    sets = parts.make_sets(sizes["train"], sizes["held"], seed)
    start = time.process_time()
    original = parts.pretrain(sets.train, sizes["pretrain"], seed)
    trained = time.process_time() - start
    make: dict[str, Callable[[torch.nn.Module], torch.nn.Module]] = {
        "original": lambda net: net,
        "augmentation": lambda _: parts.pretrain(sets.train, sizes["pretrain"] + sizes["adapt"], seed, turn=True),
        "frames": lambda net: FrameAverage(net, "SO(3)").eval(),
        "adapted": lambda net: parts.adapt(net, sets.train, "vectors", sizes["adapt"], seed=seed),
    }
    rows = []
    for way in ways:
        start = time.process_time()
        model = make[way](copy.deepcopy(original))
        seconds = trained if way == "original" else time.process_time() - start
        row: dict[str, Any] = {"way": way, "seed": seed, "cpu_seconds": round(seconds, 1)}
        row |= parts.accuracy(model, sets.test)
        row["valid"] = parts.accuracy(model, sets.valid)
        if isinstance(model, Canonicalize):
            row |= parts.left_alone(model, sets.test)
        rows.append(row)
        if keep is not None:
            keep(row)
        print(f"seed {seed}, {way}: upright {row['upright']:.1f} %, turned {row['turned']:.1f} %", flush=True)
    return rows


def choose(parts: ModuleType, sizes: dict[str, int], candidates: tuple[int, ...] = CANDIDATES) -> list[dict[str, Any]]:
    """Return the validation accuracies of numbers of epochs of adaptation; no test set is made use of.

    Args:
        parts: The example.
        sizes: As of `measure`; ``adapt`` is not used.
        candidates: The numbers of epochs.
    """
    sets = parts.make_sets(sizes["train"], sizes["held"], CHOICE)
    original = parts.pretrain(sets.train, sizes["pretrain"], CHOICE)
    rows = [{"epochs": 0, **parts.accuracy(original, sets.valid)}]
    for epochs in candidates:
        model = parts.adapt(copy.deepcopy(original), sets.train, "vectors", epochs, seed=CHOICE)
        rows.append({"epochs": epochs, **parts.accuracy(model, sets.valid)})
        print(f"{epochs} epochs: {rows[-1]['turned']:.1f} % of turned validation clouds", flush=True)
    return rows


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the solids, and bars of both accuracies: the mean of the seeds, and each seed as a point."""
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
        axes.set_title(name.replace("_", " "), fontsize=7, y=1.08)
    axes = below.subplots()
    ways = [way for way in WAYS if any(row["way"] == way for row in result["rows"])]
    for shift, (key, colour) in enumerate({"upright": "#4c72b0", "turned": "#dd8452"}.items()):
        for k, way in enumerate(ways):
            of_way = [row[key] for row in result["rows"] if row["way"] == way]
            at = k + 0.4 * (shift - 0.5)
            axes.bar(at, sum(of_way) / len(of_way), 0.38, label=None if k else key, color=colour)
            axes.plot([at] * len(of_way), of_way, ".", color="black", markersize=4)
    axes.set_xticks(range(len(ways)), ways, fontsize=8)
    axes.set(ylabel="test accuracy in %", ylim=(0, 103))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Run the table, or the choice before it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts = example()
    sizes = {"train": parts.TRAIN, "held": parts.HELD, "pretrain": parts.PRETRAIN, "adapt": parts.ADAPT}
    if arguments.quick:
        sizes = {"train": 26, "held": 13, "pretrain": 1, "adapt": 1}
    name = "adaptation_choice" if arguments.choose else "adaptation"
    path = arguments.output or (ROOT / ".bench" / f"{name}.json" if arguments.quick else None)
    protocol = {**sizes, "points": parts.POINTS, "noise": parts.NOISE, "classes": list(parts.CLASSES)}
    ran = command("adaptation.py")
    if arguments.choose:
        rows = choose(parts, sizes, (1,) if arguments.quick else CANDIDATES)
        print(f"wrote {save(name, ran, {'protocol': protocol, 'seed': CHOICE, 'rows': rows}, path)}")
        return
    result: dict[str, Any] = {"protocol": protocol, "rows": [], "complete": False}

    def keep(row: dict[str, Any]) -> None:
        result["rows"].append(row)
        save(name, ran, result, path)

    for seed in (CHOICE,) if arguments.quick else SEEDS:
        measure(parts, seed, sizes, keep=keep)
    result["complete"] = True
    print(f"wrote {save(name, ran, result, path)}")
    draw(result, IMAGES / "adaptation.png" if path is None else path.with_suffix(".png"))


if __name__ == "__main__":
    main()
