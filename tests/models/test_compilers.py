"""Energy and forces of a many-body potential under torch.compile, make_fx, torch.export and AOTInductor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from equitools import ops
from equitools.graph import Graph
from equitools.models import Potential, build

NAMES = ("positions", "atomic_numbers", "cell", "pbc", "batch", "edge_index", "edge_shift")
AUTO = torch.export.Dim.AUTO
SIZES = ({0: AUTO}, {0: AUTO}, None, None, {0: AUTO}, {1: AUTO}, {0: AUTO})
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")


class EnergyAndForces(torch.nn.Module):
    """A potential as a function of tensors."""

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self.potential(Graph(*tensors, cutoff=4.0), stress=False)
        return outputs["energy"], outputs["forces"]


def tensors_of(graph: Graph) -> tuple[torch.Tensor, ...]:
    return tuple(getattr(graph, name) for name in NAMES)


def energy_and_forces(**options: str) -> EnergyAndForces:
    torch.manual_seed(0)
    config = {"channels": 2, "l_max": 1, "correlation": 2, "num_layers": 2, "radial_hidden": (4,), "num_radial": 3}
    config |= options
    network = build("many_body_mp", cutoff=4.0, species=(1, 6, 8), **config)
    return EnergyAndForces(Potential(network, {1: -13.0, 6: -1029.0, 8: -2043.0})).double().eval()


@pytest.fixture
def function() -> EnergyAndForces:
    return energy_and_forces()


@pytest.fixture(params=["clebsch-gordan", "gaunt"])
def either(request: pytest.FixtureRequest) -> EnergyAndForces:
    """With either product in the convolutions and the contractions."""
    return energy_and_forces(product=request.param, convolution=request.param)


@pytest.fixture
def follows_gradients() -> Iterator[None]:
    """Let torch.compile trace ``torch.autograd.grad``, which it does not by default."""
    config = torch._dynamo.config
    if not hasattr(config, "trace_autograd_ops"):
        pytest.skip(f"torch {torch.__version__} cannot trace torch.autograd.grad")
    with config.patch(trace_autograd_ops=True):
        torch._dynamo.reset()
        yield
    torch._dynamo.reset()


def assert_same(one: tuple[torch.Tensor, ...], two: tuple[torch.Tensor, ...]) -> None:
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11)


def loss_gradients(function: torch.nn.Module, run: torch.nn.Module, graph: Graph) -> list[torch.Tensor]:
    """The gradients of a loss on energies and forces: a double backward."""
    function.train()
    positions, *rest = tensors_of(graph)
    energy, forces = run(positions.clone().requires_grad_(), *rest)
    weights = [p for p in function.parameters() if p.requires_grad]
    loss = (energy + 3e3).square().mean() * 1e-3 + forces.square().mean()
    found = torch.autograd.grad(loss, weights, materialize_grads=True, allow_unused=True)
    function.eval()
    return list(found)


def check_compiled(function: EnergyAndForces, make_graph, backend: str, dynamic: bool) -> None:
    molecule, water = make_graph("molecule"), make_graph("water")
    expected = function(*tensors_of(molecule)), function(*tensors_of(water))
    compiled = torch.compile(function, backend=backend, fullgraph=True, dynamic=dynamic)
    assert_same(compiled(*tensors_of(molecule)), expected[0])
    if dynamic:
        assert_same(compiled(*tensors_of(water)), expected[1])


def check_training(function: EnergyAndForces, make_graph, backend: str, dynamic: bool) -> None:
    graph = make_graph("molecule")
    expected = loss_gradients(function, function, graph)
    compiled = torch.compile(function, backend=backend, fullgraph=True, dynamic=dynamic)
    found = loss_gradients(function, compiled, graph)
    scale = max(float(g.abs().max()) for g in expected)
    assert scale > 0
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11 * scale, rtol=1e-11)


def traced(function: EnergyAndForces, graph: Graph) -> torch.fx.GraphModule:
    return make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*tensors_of(graph))


@pytest.mark.usefixtures("follows_gradients")
def test_compiled_energy_and_forces_equal_eager(either: EnergyAndForces, make_graph) -> None:
    check_compiled(either, make_graph, "aot_eager", dynamic=False)


@pytest.mark.usefixtures("follows_gradients")
def test_compiled_training_equals_eager(either: EnergyAndForces, make_graph) -> None:
    check_training(either, make_graph, "aot_eager", dynamic=False)


@needs_compiler
@pytest.mark.slow
@pytest.mark.usefixtures("follows_gradients")
def test_inductor_equals_eager(function: EnergyAndForces, make_graph) -> None:
    check_compiled(function, make_graph, "inductor", dynamic=True)


@needs_compiler
@pytest.mark.slow
@pytest.mark.usefixtures("follows_gradients")
def test_inductor_training_equals_eager(function: EnergyAndForces, make_graph) -> None:
    check_training(function, make_graph, "inductor", dynamic=True)


def test_exported_program_equals_eager_for_any_size(either: EnergyAndForces, make_graph) -> None:
    function, molecule, water, crystal = either, *(make_graph(kind) for kind in ("molecule", "water", "crystal"))
    graph_module = traced(function, molecule)
    program = torch.export.export(graph_module, tensors_of(molecule), dynamic_shapes=SIZES)
    for graph in (molecule, water, crystal):
        assert_same(graph_module(*tensors_of(graph)), function(*tensors_of(graph)))
        assert_same(program.module()(*tensors_of(graph)), function(*tensors_of(graph)))


@pytest.mark.skipif(not ops.extension_loaded(), reason="the compiled kernels are not built here")
def test_operations_stay_whole_in_the_graph(function: EnergyAndForces, make_graph) -> None:
    called = {str(node.target) for node in traced(function, make_graph("molecule")).graph.nodes}
    expected = ("spherical_harmonics", "bessel_basis", "radial_tensor_product_conv", "symmetric_contraction")
    for name in expected:
        assert any(target.startswith(f"equitools.{name}.") for target in called), name
        assert any(target.startswith((f"equitools.{name}_backward.", f"equitools.{name}_vjp.")) for target in called)


def test_traced_program_refuses_unknown_elements(function: EnergyAndForces, make_graph) -> None:
    program = traced(function, make_graph("molecule"))
    positions, numbers, *rest = tensors_of(make_graph("molecule"))
    with pytest.raises((RuntimeError, IndexError)):
        program(positions, torch.where(numbers == 8, 79, numbers), *rest)


def test_tracing_leaves_the_potential_as_it_was(function: EnergyAndForces, make_graph) -> None:
    """Nothing of the trace (fake tensors, casts of tables) stays in a plan."""
    graph = make_graph("molecule", torch.float32)
    program = traced(function.float(), graph)  # the first thing that happens to it
    energy, forces = function(*tensors_of(graph))
    assert type(energy) is torch.Tensor
    assert torch.isfinite(forces).all()
    torch.testing.assert_close(program(*tensors_of(graph))[1], forces)


@needs_compiler
@pytest.mark.slow
def test_aot_inductor_equals_eager(function: EnergyAndForces, tmp_path, make_graph) -> None:
    molecule, water = make_graph("molecule"), make_graph("water")
    program = torch.export.export(traced(function, molecule), tensors_of(molecule), dynamic_shapes=SIZES)
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "potential.pt2"))
    loaded = torch._inductor.aoti_load_package(package)
    for graph in (molecule, water):
        assert_same(tuple(loaded(*tensors_of(graph))), function(*tensors_of(graph)))
