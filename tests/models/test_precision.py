"""Autocast and the precision of matrix products: never lowered behind the user's back."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch

from equitools import nn, ops
from equitools.graph import Graph
from equitools.models import HeadModel, Potential, ScalarHead, build, compile_potential
from equitools.ops.backend import MatmulPrecisionWarning, _reported
from equitools.testing import equivariance_report


def small(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    config = {"egnn": {"hidden": 8, "layers": 2}, "many_body_mp": {"channels": 4, "l_max": 2, "radial_hidden": (8,)}}
    return build(name, cutoff=4.0, species=(1, 6, 8), **config[name])


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("name", ["egnn", "many_body_mp"])
def test_autocast_does_not_touch_a_potential(name: str, make_graph) -> None:
    potential, graph = Potential(small(name)), make_graph("crystal", torch.float32)
    expected = potential(graph)
    with autocast():
        found = potential(graph)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key


def test_autocast_does_not_touch_training(make_graph) -> None:
    potential, graph = Potential(small("many_body_mp")).train(), make_graph("molecule", torch.float32)
    weights = list(potential.parameters())
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = potential(graph)["forces"].square().mean()
        gradients.append(torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True))
    for one, two in zip(*gradients, strict=True):
        assert torch.equal(one, two)


def test_autocast_does_not_touch_a_head(make_graph) -> None:
    model, graph = HeadModel(small("many_body_mp"), ScalarHead("gap")), make_graph("molecule", torch.float32)
    expected = model(graph)
    with autocast():
        found = model(graph)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.skipif(not ops.extension_loaded(), reason="the compiled kernels are not built here")
def test_autocast_does_not_touch_a_compiled_potential(make_graph) -> None:
    potential, graph = compile_potential(Potential(small("many_body_mp"))), make_graph("crystal", torch.float32)
    expected = potential(graph)
    with autocast():
        found = potential(graph)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_equivariance_under_autocast_is_that_of_float32(make_graph) -> None:
    potential, graph = Potential(small("many_body_mp")).eval(), make_graph("molecule", torch.float32)
    plain = equivariance_report(potential, graph)
    with autocast():
        cast = equivariance_report(potential, graph)
    assert plain.passed
    assert cast.passed


def test_layers_widen_what_autocast_has_rounded() -> None:
    """A network of one's own: a plain linear layer gives bfloat16, the equivariant layers after it do not."""
    plain, equivariant = torch.nn.Linear(6, 7), nn.Linear("4x0e + 1x1o", "2x0e + 2x1o")
    x = torch.randn(5, 6)
    with autocast():
        rounded = plain(x)
        mixed = equivariant(rounded)
        summed = ops.segment_sum(rounded, torch.tensor([0, 0, 1, 1, 1]), 2)
        harmonics = ops.spherical_harmonics(2, rounded[:, :3])
    assert rounded.dtype == torch.bfloat16
    assert {mixed.dtype, summed.dtype, harmonics.dtype} == {torch.float32}
    assert torch.equal(mixed, equivariant(rounded.float()))
    assert torch.equal(harmonics, ops.spherical_harmonics(2, rounded[:, :3].float()))


def test_autocast_leaves_float64_alone() -> None:
    vectors = torch.randn(4, 3, dtype=torch.float64)
    with autocast():
        assert ops.spherical_harmonics(1, vectors).dtype == torch.float64


def test_edge_vectors_are_exact_under_autocast(make_graph) -> None:
    graph: Graph = make_graph("crystal", torch.float32)
    expected = graph.edge_vectors()
    with autocast():
        assert torch.equal(graph.edge_vectors(), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.filterwarnings("ignore::equitools.ops.backend.BackendFallbackWarning")
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    """1 + many small terms: a sum in half precision would not move from 1."""
    values = torch.full((2001, 1), 2.0**-10, dtype=dtype)
    values[0] = 1
    total = ops.segment_sum(values, torch.zeros(2001, dtype=torch.int64), 1)
    assert total.dtype == dtype
    assert total.item() == pytest.approx(1 + 2000 / 1024, rel=1e-2)


def test_rounded_matrix_products_are_reported_once() -> None:
    before = torch.get_float32_matmul_precision()
    _reported.discard("matmul")
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.warns(MatmulPrecisionWarning, match="equivariance"):
            ops.spherical_harmonics(1, torch.ones(1, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ops.spherical_harmonics(1, torch.ones(1, 3))
    finally:
        torch.set_float32_matmul_precision(before)
        _reported.discard("matmul")


def test_the_package_never_lowers_the_precision_of_matrix_products() -> None:
    code = (
        "import torch\n"
        "def state(): return (torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32,\n"
        "    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,\n"
        "    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction)\n"
        "before = state()\n"
        "import equitools as et\n"
        "[getattr(et, name) for name in et.__all__]\n"
        "network = et.models.build('many_body_mp', cutoff=3.0, species=(1, 8), channels=2, l_max=1)\n"
        "positions = [[0.0, 0.0, 0.12], [0.0, 0.76, -0.47]]\n"
        "et.models.Potential(network)(et.graph.Graph.from_arrays(positions, [8, 1], cutoff=3.0))\n"
        "assert state() == before == ('highest', False, True, *before[3:]), (before, state())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
