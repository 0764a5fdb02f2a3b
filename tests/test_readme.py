"""The Python blocks of the README and the documentation run; the commands they show exist with these options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import equitools as et

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Blocks that need a file which a command on the same page makes first.
NEEDS_A_RUN = {"tutorial.md"}
NEEDS_KERNELS = {"inference.md"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def prepared() -> dict[str, object]:
    """What a page may take for granted: a small model and a graph."""
    from ase.build import molecule

    torch.manual_seed(0)
    network = et.models.build("egnn", cutoff=4.0, species=(1, 6, 8), hidden=8, layers=1)
    graph = et.graph.Graph.from_ase(molecule("CH3CH2OH"), cutoff=4.0)
    return {"et": et, "torch": torch, "model": et.models.Potential(network).eval(), "graph": graph}


def is_program(code: str) -> bool:
    try:
        compile(code, "block", "exec")
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # a page may register a network of its own, which other tests must not meet
    monkeypatch.setattr("equitools.models.registry._registered", dict(et.models.registry._registered))
    code = blocks(page, "python")
    assert all(is_program(block) for block in code), "a block is no Python"
    if page.name in NEEDS_A_RUN or (page.name in NEEDS_KERNELS and not et.ops.backend.extension_loaded()):
        return
    # The README stands for itself; a page of the documentation may speak of "a model" and "a graph".
    namespace: dict[str, object] = {} if page.name == "README.md" else prepared()
    for number, block in enumerate(code):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)  # noqa: S102 - that is the test


def commands(page: Path) -> list[list[str]]:
    found = []
    for block in blocks(page, "bash"):
        joined = block.replace("\\\n", " ")
        for line in joined.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["equitools"]:
                found.append(words[1:])
            elif words[1:3] == ["-m", "equitools"]:
                found.append(words[3:])
    return found


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda page: page.name)
def test_commands_parse(page):
    import typer

    from equitools.cli.app import app

    for words in commands(page):
        context = typer.main.get_command(app).make_context("equitools", [], resilient_parsing=True)
        command, rest = context.command, list(words)
        while hasattr(command, "get_command"):
            assert rest, f"{page.name}: {words} names no command"
            name = rest.pop(0)
            if name.startswith("-"):
                break
            below = command.get_command(context, name)
            assert below is not None, f"{page.name}: equitools has no command {name!r} ({' '.join(words)})"
            command = below
        else:
            if "--help" not in rest:
                command.make_context(command.name, rest)  # raises where an option or argument does not exist


def test_the_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first_screen = "\n".join(text.splitlines()[:15])
    assert "make demo" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} points to {target}, which is not there"
