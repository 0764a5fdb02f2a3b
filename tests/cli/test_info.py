from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from equitools.cli.info import info
from equitools.ops import backend as backend_module

app = typer.Typer()
app.command()(info)


def test_table_names_backends_and_versions():
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 0
    for word in ("Backends", "reference", "cpu", "cuda", "torch_scatter", "Packages", "e3nn", "threads"):
        assert word in done.stdout


def test_json():
    facts = json.loads(CliRunner().invoke(app, ["--json"]).stdout)
    assert facts["packages"]["torch"]
    assert {b["name"] for b in facts["backends"]} == {"reference", "cpu", "cuda", "torch_scatter"}
    assert all(b["active"] or b["reason"] for b in facts["backends"])


def test_says_why_the_kernels_are_off_and_what_to_do(monkeypatch):
    absent = backend_module._Extension(False, "extension not built (no C++ compiler)", "run `make setup`")
    monkeypatch.setattr(backend_module, "_extension", absent)
    monkeypatch.setenv("EQUITOOLS_BACKEND", "cpu")
    facts = json.loads(CliRunner().invoke(app, ["--json"]).stdout)
    cpu = next(b for b in facts["backends"] if b["name"] == "cpu")
    assert not cpu["active"]
    assert "no C++ compiler" in cpu["reason"]
    assert "make setup" in cpu["hint"]
    assert "not usable" in facts["requested"]
    assert CliRunner().invoke(app, []).exit_code == 0
