"""Collects the commands into the program ``equitools`` and turns a user's mistakes into exit code 2."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from equitools._version import __version__
from equitools.errors import EquitoolsError

__all__ = ["app", "main"]

app = typer.Typer(
    name="equitools",
    help="Networks that respect symmetry: train a potential on molecules, check it, and run dynamics with it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

#: Commands in the order in which ``--help`` lists them: the name and the module whose function of that name runs it.
COMMANDS = ("info", "demo", "train", "eval", "check", "md", "relax")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"equitools {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


for _name in COMMANDS:
    _module = import_module(f"equitools.cli.{_name}")
    # Overrides such as loss.forces=10 are arguments; a typo such as --loss.forces is an error that click reports.
    app.command(name=_name)(getattr(_module, _name))

app.add_typer(import_module("equitools.cli.data").app, name="data")


def main() -> None:
    """Run the program. A user's mistake ends in one paragraph on the error stream and exit code 2."""
    try:
        app()
    except EquitoolsError as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]Error:[/bold red] {escape(str(error))}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
