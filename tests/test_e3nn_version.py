"""The e3nn beside us: any version from 0.4.4 on, imported without loosening torch's safe loading."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import equitools as et
from equitools.groups._e3nn import E3NN_VERSION


@pytest.mark.skipif("EXPECT_E3NN" not in os.environ, reason="set by `make test-e3nn04`, which has an e3nn of its own")
def test_this_is_the_version_that_was_asked_for() -> None:
    assert os.environ["EXPECT_E3NN"] == E3NN_VERSION


def test_vocabulary() -> None:
    irreps = et.groups.Irreps("8x0e + 4x1o + 2e")
    assert irreps.dim == 8 + 12 + 5
    assert irreps.lmax == 2


def test_import_leaves_safe_loading_alone() -> None:
    code = (
        "import equitools.groups, os, torch; assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ;"
        "print(slice in torch.serialization.get_safe_globals())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
    assert torch.get_default_dtype() == torch.float32


def test_a_model_runs() -> None:
    from ase.build import molecule

    network = et.models.build("many_body_mp", cutoff=4.0, species=(1, 8), channels=4, l_max=2)
    graph = et.graph.Graph.from_ase(molecule("H2O"), cutoff=4.0)
    out = et.models.Potential(network)(graph)
    assert torch.isfinite(out["forces"]).all()
    assert et.testing.equivariance_report(et.models.Potential(network), graph).passed
