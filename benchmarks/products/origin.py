"""Where a result comes from, as a line below its table."""

from __future__ import annotations

from typing import Any

__all__ = ["origin"]


def origin(table: dict[str, Any], threads: int | None = None) -> str:
    """Return processor, threads, versions, date and command of a result file in a line, and whether it is complete.

    Args:
        table: The file.
        threads: Of the workers, where these had another number than the process that wrote the file.
    """
    versions = table["versions"]
    count = table["threads"] if threads is None else threads
    return (
        f"*{table['processor']}, {count} thread{'s' * (count > 1)}, torch {versions['torch']}, "
        f"equitools {versions['equitools']}, {table['date']}; `{table['command']}`"
        f"{'' if table['result'].get('complete', True) else ' (not everything has been run)'}*"
    )
