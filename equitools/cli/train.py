"""``equitools train``: a configuration file in, a trained model and its error table out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY.SUB=VALUE",
            help="Changes to the file, for example loss.forces=10 trainer.max_epochs=50 ema=null.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last whole epoch of the run in the output folder.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the output folder.")] = False,
) -> None:
    """Train a network as CONFIG says, test it, and write the output folder.

    The folder receives model.safetensors (the best averaged weights), last.ckpt (for --resume), metrics.csv,
    result.json, the split, the whole configuration, and plots. Several processes:
    torchrun --nproc-per-node=2 -m equitools train CONFIG.
    """
    from equitools.training import load_config
    from equitools.training import train as run

    changes = list(overrides or [])
    changes += ["resume=true"] if resume else []
    changes += ["overwrite=true"] if overwrite else []
    run(load_config(config, changes))
