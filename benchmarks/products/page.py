"""The measured products as Markdown and as a picture: every number is from `gaunt.json` and `tetris.json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.side_by_side.figures import new_figure, save_figure
from benchmarks.side_by_side.report import number, target_rows
from benchmarks.side_by_side.targets import Target

Table = dict[str, Any]
#: Rows of which the long table is, and to which the exponent is fitted.
AT = 1000
TASKS = ("forward", "forward_backward")
#: Those that give the same paths, and can be chosen from.
EVEN = (
    *("CG sparse even (e3nn)", "CG sparse even (compiled)", "Gaunt dense", "Gaunt sparse", "Gaunt fourier"),
    *("Gaunt grid, plain torch", "Gaunt grid"),
)
BOTH = (
    *("CG dense", "CG sparse (e3nn)", "CG sparse (compiled)", "Gaunt + curl sparse", "Gaunt + curl grid"),
    "matrices",
)
#: Remarks, not among those to choose from.
REMARKS = ("curl, plain torch", "vector fields, plain torch")
COLOURS = {
    "CG dense": "#332288", "CG sparse (e3nn)": "#4477aa", "CG sparse even (e3nn)": "#66ccee",
    "CG sparse (compiled)": "#117733", "CG sparse even (compiled)": "#88cc88", "Gaunt dense": "#aa4499",
    "Gaunt grid, plain torch": "#ff9da7", "Gaunt + curl sparse": "#998822",
    "Gaunt sparse": "#ccbb44", "Gaunt fourier": "#ee6677", "Gaunt grid": "#1b1b1b", "curl grid": "#228833",
    "Gaunt + curl grid": "#777777", "matrices": "#cc6633", "SO(2) convolution": "#882255",
}  # fmt: skip
PAIR = ("chiral", "its mirror image")
NOTHING = "There are no results of this version yet: `python benchmarks/{}.py` measures and writes them.\n"


def _cells(result: Table, **wanted: Any) -> list[Table]:
    return [row for row in result["rows"] if all(row.get(key) == value for key, value in wanted.items())]


def _time(result: Table, side: str, lmax: int, rows: int, task: str = "forward") -> float | None:
    """Return µs a row, or ``None``."""
    found = _cells(result, side=side, lmax=lmax, rows=rows, task=task)
    return found[0].get("us_per_row") if found else None


def _nearest(result: Table, side: str, lmax: int, task: str = "forward") -> tuple[float | None, str]:
    """Return µs a row of so many rows; where these were skipped, of the most that were measured, and how many."""
    known = {
        row["rows"]: row["us_per_row"]
        for row in _cells(result, side=side, lmax=lmax, task=task)
        if "us_per_row" in row and row["rows"] <= AT
    }
    if not known:
        return None, ""
    rows = max(known)
    return known[rows], "" if rows == AT else f" ({rows:,} row{'s' * (rows > 1)})"


def _degrees(result: Table) -> list[int]:
    return sorted({row["lmax"] for row in result["products"] if row["side"] == "CG dense"})


def _paths(result: Table, side: str, half: str, lmax: int) -> tuple[int | None, str]:
    """Return how many paths a product of one channel produces, and its free weights in words."""
    if half == "edge":  # it mixes channels: a matrix for each path
        found = next((p.get("paths") for p in result["products"] if (p["side"], p["lmax"]) == (side, lmax)), None)
        return found, "paths × channels²"
    reach = result.get("reach", {}).get(str(lmax))
    if reach is None:
        return None, "–"
    every = reach["Clebsch–Gordan"]["paths"]
    even = reach["Gaunt"]["reached"]
    count = {"even": even, "odd": every - even, "both": every}[half]
    if side == "matrices":
        count = reach["matrices"]["reached"]
    if side.startswith("CG"):
        return count, str(count)
    if side == "curl grid" or one_off(side):
        return count, str(3 * lmax)  # the odd half has no degree 0
    return count, str(reach[{"even": "Gaunt"}.get(half, "Gaunt + curl")]["weights"])


def one_off(side: str) -> bool:
    """Return whether a side is a remark, and not among those to choose from."""
    return side in REMARKS


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else number(value, digits)


def _bytes(side: Table, lmax: int, channels: int) -> int:
    """Return the bytes of both factors and the product of a row, in float32."""
    components = (lmax + 1) ** 2
    out = {"even": components, "odd": components - 1, "both": 2 * components - 1, "edge": 2 * components - 1}
    rotations = sum((2 * l + 1) ** 2 for l in range(lmax + 1)) / channels  # of an edge, for all channels
    second = rotations if side["half"] == "edge" else components
    return int(4 * channels * (components + second + out[side["half"]]))


def _long_table(result: Table) -> str:
    lines = [
        "| L | product | paths | weights | µs a row, forward | with backward | µs a path | bytes in + out a row "
        "| more memory, MB | error | backward |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes: dict[str, str] = {}
    for product in result["products"]:
        lmax, side = product["lmax"], product["side"]
        if lmax not in _degrees(result) or one_off(side):
            continue
        if "note" in product:
            notes[side] = product["note"]
            continue
        (forward, few), (backward, fewer) = (_nearest(result, side, lmax, task) for task in TASKS)
        paths, weights = _paths(result, side, product["half"], lmax)
        extra = _cells(result, side=side, lmax=lmax, rows=AT, task="forward")
        lines.append(
            f"| {lmax} | {side} | {'–' if paths is None else paths} | {weights} | {_number(forward)}{few} "
            f"| {_number(backward)}{fewer} | {_number(None if forward is None or not paths else forward / paths)} "
            f"| {_bytes(product, lmax, result['channels']):,} "
            f"| {_number(extra[0].get('extra_mb') if extra else None)} "
            f"| {product['error']:.1e} | {product['error_backward']:.1e} |"
        )
    text = (
        f"One row has {result['channels']} channels; {AT:,} rows at a time, or as many as stand in parentheses "
        f"where these would take more than {result['max_gb']:g} GB or {10 * result['max_run_seconds']:g} s.\n\n"
    )
    text += "\n".join(lines)
    return text + "".join(f"\n\n{side}: {note}." for side, note in notes.items())


def _fastest(result: Table, sides: Iterable[str], lmax: int, rows: int, task: str) -> str:
    times = {side: time for side in sides if (time := _time(result, side, lmax, rows, task)) is not None}
    if not times:
        return "–"
    best = min(times, key=lambda side: times[side])
    return f"{best} {_number(times[best])}"


def _winners(result: Table, sides: Iterable[str], task: str) -> str:
    counts = sorted({row["rows"] for row in result["rows"]})
    lines = [f"| L | {' | '.join(f'{count:,} rows' for count in counts)} |", f"|---|{'---|' * len(counts)}"]
    lines += [
        f"| {lmax} | " + " | ".join(_fastest(result, sides, lmax, count, task) for count in counts) + " |"
        for lmax in _degrees(result)
    ]
    return "\n".join(lines)


def _first(result: Table, side: str, others: Iterable[str], task: str) -> str:
    """Say from which L on a side is the fastest, for each number of rows, up to the highest that both have."""
    others = [other for other in others if other != side]
    said = []
    for count in sorted({row["rows"] for row in result["rows"]}):
        wins: dict[int, bool] = {}
        for lmax in _degrees(result):
            own = _time(result, side, lmax, count, task)
            rest = [time for other in others if (time := _time(result, other, lmax, count, task)) is not None]
            if own is not None and rest:
                wins[lmax] = own < min(rest)
        from_ = next((lmax for lmax in wins if all(won for degree, won in wins.items() if degree >= lmax)), None)
        text = "nowhere" if from_ is None else "everywhere" if from_ == min(wins) else f"from L = {from_}"
        if wins:
            said.append(f"{count:,} rows: {text}")
    return "; ".join(said)


def targets(result: Table | None) -> Iterator[Target]:
    """Return what was asked for, beside what was measured.

    Args:
        result: ``result`` of `gaunt.json`.
    """
    for task, name in (("forward", "forward"), ("forward_backward", "forward + backward")):
        ratios = {
            (row["lmax"], row["rows"]): fourier / row["us_per_row"]
            for row in (_cells(result, side="Gaunt grid", task=task) if result else [])
            if "us_per_row" in row
            and (fourier := _time(result, "Gaunt fourier", row["lmax"], row["rows"], task)) is not None
        }
        whole = {lmax for lmax, _ in ratios} >= set(range(1, 11))
        words = f"grid, {name}, the least of L = 1 … 10 and all rows"
        yield Target("Gaunt product", "Fourier", words, 1, False, "×", min(ratios.values()) if whole else None)
    for side in ("Gaunt grid", "curl grid"):
        for task, name in (("forward", "forward"), ("forward_backward", "forward + backward")):
            slope = (result or {}).get("exponents", {}).get(side, {}).get(task)
            yield Target(f"{side}, {AT:,} rows", "", f"exponent of L, 4 … 12, {name}", 3.3, True, "", slope)


def _picture(result: Table) -> str:
    figure, axes = new_figure(10, 3.8, 1, 2)
    for side, colour in COLOURS.items():
        half = next((row["half"] for row in result["products"] if row["side"] == side), None)
        points = [(lmax, time) for lmax in _degrees(result) if (time := _nearest(result, side, lmax)[0]) is not None]
        if half is None or not points:
            continue
        style = {"even": "-", "odd": ":", "both": "--", "edge": "-."}[half]
        axes[0, 0].plot(*zip(*points, strict=True), style, marker="o", markersize=3, color=colour, label=side)
        each = [(lmax, time / paths) for lmax, time in points if (paths := _paths(result, side, half, lmax)[0])]
        if each:
            axes[0, 1].plot(*zip(*each, strict=True), style, marker="o", markersize=3, color=colour)
    for axis, label in zip(axes[0], ("µs a row, forward", "µs a row and produced path"), strict=True):
        axis.set_yscale("log")
        axis.set_xlabel("L")
        axis.set_ylabel(label)
        axis.xaxis.get_major_locator().set_params(integer=True)
    if axes[0, 0].lines:
        figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    save_figure(figure, "gaunt_products.png")
    return "gaunt_products.png"


def _vectors(result: Table) -> str:
    """Return the table of the vector products: what is counted, and what plain torch measures."""
    heads = ["L", *result["operations"]["1"], *(f"{side}, µs" for side in REMARKS)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for lmax in _degrees(result):
        counted = " | ".join(f"{value:,}" for value in result["operations"][str(lmax)].values())
        measured = " | ".join(_number(_time(result, side, lmax, AT)) for side in REMARKS)
        lines.append(f"| {lmax} | {counted} | {measured} |")
    return "\n".join(lines)


def _where(table: Table) -> str:
    versions = table["versions"]
    return (
        f"*{table['processor']}, {table['threads']} thread{'s' * (table['threads'] > 1)}, torch {versions['torch']}, "
        f"e3nn {versions['e3nn']}, equitools {versions['equitools']}, {table['date']}; `{table['command']}`"
        f"{'' if table['result'].get('complete', True) else ' (not everything has been run)'}*"
    )


def gaunt(table: Table | None) -> str:
    """Return where Gaunt products win and lose; a picture is drawn beside it."""
    if table is None:
        return NOTHING.format("gaunt")
    result = table["result"]
    parts = [
        f"![Time over L](generated/{_picture(result)})",
        "*Left: time of a row; solid: even half, dotted: odd half, dashed: both. Right: divided by the paths.*",
        target_rows(list(targets(result))),
    ]
    for sides, words in ((EVEN, "the even half"), (BOTH, "all paths")):
        parts.append(
            f"The fastest for {words} by L and rows (of those that were not skipped), and its µs a row, forward:"
        )
        parts.append(_winners(result, sides, "forward"))
        parts.append("Forward and backward:")
        parts.append(_winners(result, sides, "forward_backward"))
        ours = sides[-1] if sides is EVEN else "Gaunt + curl grid"
        parts.append(
            f"*{ours}* is the fastest of these forward at {_first(result, ours, sides, 'forward')}. Forward and "
            f"backward at {_first(result, ours, sides, 'forward_backward')}."
        )
    return "\n\n".join([*parts, _long_table(result), _where(table)]) + "\n"


def vectors(table: Table | None) -> str:
    """Return the comparison with products of vector fields."""
    return NOTHING.format("gaunt") if table is None else f"{_vectors(table['result'])}\n\n{_where(table)}\n"


def reach(table: Table | None) -> str:
    """Return what each product spans."""
    found = (table or {}).get("result", {}).get("reach")
    if not found:
        return NOTHING.format("gaunt")
    lines = [
        "| L | product | paths produced | of | dimension of the span | free numbers | weights |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {lmax} | {name} | {row['reached']} | {row['paths']} | {row.get('span', '–')} | {row.get('freedom', '–')} "
        f"| {row['weights']} |"
        for lmax, rows in found.items()
        for name, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


def tetris(table: Table | None) -> str:
    """Return which shapes were told with which product."""
    if table is None:
        return NOTHING.format("tetris")
    result = table["result"]
    protocol = result["protocol"]
    lines = [
        "| product | features | parameters | shapes told, by seed | the chiral pair | the others "
        "| largest difference of the chiral logits |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, product in result["products"].items():
        runs = product["runs"]
        shares = [run["by_shape"] for run in runs]
        chiral = min(share[shape] for share in shares for shape in PAIR)
        others = min(value for share in shares for shape, value in share.items() if shape not in PAIR)
        lines.append(
            f"| `{name}` | {product['features']} | {product['parameters']:,} "
            f"| {', '.join(str(run['shapes_told']) for run in runs)} of {len(shares[0])} | {100 * chiral:.0f} % "
            f"| {100 * others:.0f} % | {max(run['chiral_difference'] for run in runs):.1e} |"
        )
    told = (
        f"{protocol['steps']:,} steps; told in {protocol['rotations']} fresh random rotations, where a shape's logit "
        f"exceeds all others by more than {protocol['margin']:g}. The shares are those of the worst seed."
    )
    return "\n".join(lines) + f"\n\n{told}\n\n{_where(table)}\n"
