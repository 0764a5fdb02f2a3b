"""Every public name of the architecture document, called with the signature that it promises."""

from __future__ import annotations

import importlib.metadata
import inspect

import pytest
import torch

import equitools as et


def test_packages():
    for name in ("groups", "ops", "graph", "symmetrize", "nn", "models", "data", "training", "integrations", "testing"):
        assert inspect.ismodule(getattr(et, name))
        assert name in dir(et)
    assert et.__version__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        et.nonsense  # noqa: B018


def test_convention_and_change_of_basis():
    a = et.groups.Convention.preset("e3nn-0.5")
    b = et.groups.Convention.preset("wikipedia")
    matrix = et.groups.change_of_basis(a, b, "1x0e+1x1o+2x2e")
    assert matrix.shape == (14, 14)
    assert matrix.dtype == torch.float64
    assert torch.allclose(matrix @ et.groups.change_of_basis(b, a, "1x0e+1x1o+2x2e"), torch.eye(14).double())


@pytest.mark.parametrize("name", ["SO", "O", "SE", "E", "GLPlus", "SL", "Sp"])
def test_matrix_groups(name):
    n = 4 if name == "Sp" else 3
    group = getattr(et.groups, name)(n)
    assert group.name == f"{name}({n})".replace("Plus", "+")
    element = group.sample((4,))
    assert element.shape[0] == 4
    assert element.shape[-1] == (4 if name in {"SE", "E"} else n)
    assert bool(torch.as_tensor(group.contains(element)).all())
    algebra = group.algebra_basis
    assert algebra.shape[-1] == element.shape[-1]
    assert torch.allclose(group.project(element), element, atol=1e-10)
    coordinates = 0.1 * torch.arange(1.0, len(algebra) + 1, dtype=torch.float64)
    small = group.exp(coordinates)
    assert torch.allclose(group.exp(group.log(small)), small, atol=1e-10)


@pytest.mark.parametrize("name", ["GLPlus", "SL", "Sp"])
def test_decompositions(name):
    group = getattr(et.groups, name)(4 if name == "Sp" else 3)
    g = group.sample((5,))
    parts = {kind: group.decompose(g, kind) for kind in ("polar", "kak", "iwasawa")}
    for kind, found in parts.items():
        assert all(part.shape == g.shape for part in found)
        assert torch.allclose(group.compose(found, kind), g, atol=1e-10)
    p, k = parts["polar"]
    one = torch.eye(g.shape[-1], dtype=g.dtype)
    assert torch.allclose(p, p.mT)
    assert bool((torch.linalg.eigvalsh(p) > 0).all())
    assert torch.allclose(k @ k.mT, one, atol=1e-10)
    for kind in ("kak", "iwasawa"):
        a = parts[kind][1]
        assert bool((a.diagonal(dim1=-2, dim2=-1) > 0).all())
        assert torch.allclose(a, torch.diag_embed(a.diagonal(dim1=-2, dim2=-1)), atol=1e-10)
    k, _, n = parts["iwasawa"]
    assert torch.allclose(k @ k.mT, one, atol=1e-10)
    assert name == "Sp" or torch.allclose(n.tril(), one.expand_as(n), atol=1e-10)


def test_lorentz_group():
    group = et.groups.Lorentz()
    g = group.sample((4,))
    assert g.shape == (4, 4, 4)
    assert bool(group.contains(g).all())
    small = group.exp(0.1 * torch.arange(6.0, dtype=torch.float64))
    assert torch.allclose(group.exp(group.log(small)), small, atol=1e-10)
    assert torch.allclose(group.project(small), small, atol=1e-10)


def test_group_names_are_accepted_by_the_report():
    report = et.testing.equivariance_report(potential(), graph(), group=et.groups.SO(3))
    assert report.group == "SO(3)"


def test_symmetrize():
    x = torch.randn(2, 5, 3)
    elements, weights = et.symmetrize.frames(x, "SO(3)", mask=None, mode="full")
    assert (elements.shape, weights.shape) == ((2, 4, 3, 3), (2, 4))
    assert et.symmetrize.frames(x, et.groups.E(3)).elements.shape == (2, 8, 4, 4)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(15, 3))
    for mode in ("full", "sample", "canonical", "weighted"):
        assert et.symmetrize.FrameAverage(net, "SE(3)", inputs="points", outputs="vector", mode=mode)(x).shape == (2, 3)
    pose = lambda x, mask=None: et.symmetrize.canonicalize(x, "SE(3)", mask)  # noqa: E731
    assert et.symmetrize.Canonicalize(net, pose, inputs="points", outputs="scalar")(x).shape == (2, 3)


def test_gaunt_products():
    layer = et.nn.GauntTensorProduct("4x0e+4x1o", "4x0e+4x1o", method="auto")
    x, y = torch.randn(2, 3, layer.irreps_in1.dim)
    assert layer(x, y).shape == (3, layer.irreps_out.dim)
    assert et.ops.gaunt_tensor_product(torch.randn(3, 9, 4), torch.randn(3, 4, 4), 1).shape == (3, 4, 4)


def test_spherical_harmonics():
    vectors = torch.randn(5, 2, 3)
    values = et.ops.spherical_harmonics(3, vectors, normalize=True, normalization="component")
    assert values.shape == (5, 2, 16)
    assert torch.allclose(values, et.ops.spherical_harmonics(3, vectors))
    assert torch.allclose(values[..., 1:4], 3**0.5 * torch.nn.functional.normalize(vectors, dim=-1), atol=1e-5)


def test_segment_sum():
    got = et.ops.segment_sum(torch.ones(4, 2), torch.tensor([0, 0, 2, 2]), 3)
    assert got.tolist() == [[2.0, 2.0], [0.0, 0.0], [2.0, 2.0]]


def test_tensor_product_conv():
    conv = et.nn.TensorProductConv("4x0e+4x1o", "1x0e+1x1o", irreps_out=None, layout="mul_ir")
    x, edge = torch.randn(3, 16), torch.randn(5, 4)
    weight, edge_index = torch.randn(5, conv.weight_numel), torch.tensor([[0, 1, 2, 0, 1], [0, 0, 1, 2, 2]])
    assert conv(x, edge, weight, edge_index, 3).shape == (3, conv.irreps_out.dim)
    assert list(inspect.signature(conv.forward).parameters) == ["x", "edge_attr", "weight", "edge_index", "num_nodes"]


def test_tensor_product_conv_without_edges():
    conv = et.nn.TensorProductConv("4x0e+4x1o", "1x0e+1x1o")
    none = torch.zeros(2, 0, dtype=torch.int64)
    out = conv(torch.randn(3, 16), torch.zeros(0, 4), torch.zeros(0, conv.weight_numel), none, 3)
    assert out.shape == (3, conv.irreps_out.dim)
    assert not out.any()


def test_tensor_product_conv_equals_e3nn():
    from e3nn import o3

    irreps_in, irreps_edge = o3.Irreps("3x0e+2x1o"), o3.Irreps("1x0e+1x1o+1x2e")
    conv = et.nn.TensorProductConv(irreps_in, irreps_edge).double()
    paths, blocks = [], []
    for i, (mul, ir) in enumerate(irreps_in):
        for j, (_, edge_ir) in enumerate(irreps_edge):
            for out_ir in sorted(ir * edge_ir, key=lambda item: item.l):
                paths.append((i, j, len(blocks), "uvu", True))
                blocks.append((mul, out_ir))
    ordered = o3.Irreps(blocks).sort()
    paths = [(i, j, ordered.p[k], mode, train) for i, j, k, mode, train in paths]
    oracle = o3.TensorProduct(
        irreps_in, irreps_edge, ordered.irreps, paths, shared_weights=False, internal_weights=False
    ).double()
    assert conv.irreps_out.simplify() == ordered.irreps.simplify()
    assert conv.weight_numel == oracle.weight_numel
    x = torch.randn(4, irreps_in.dim, dtype=torch.float64)
    edge_index = torch.tensor([[1, 2, 3, 0, 3, 1], [0, 0, 1, 2, 2, 3]])
    edge = torch.randn(6, irreps_edge.dim, dtype=torch.float64)
    weight = torch.randn(6, conv.weight_numel, dtype=torch.float64)
    wanted = torch.zeros(4, oracle.irreps_out.dim, dtype=torch.float64)
    wanted.index_add_(0, edge_index[1], oracle(x[edge_index[0]], edge, weight))
    got = conv(x, edge, weight, edge_index, 4)
    if importlib.metadata.version("e3nn") >= "0.5":  # 0.4 has other signs of some 3j symbols
        assert torch.allclose(got, wanted, atol=1e-12)


def test_symmetric_contraction():
    layer = et.nn.SymmetricContraction("4x0e+4x1o+4x2e", "4x0e+4x1o", correlation=3, num_elements=2)
    assert layer(torch.randn(5, 36), torch.tensor([0, 1, 0, 1, 1])).shape == (5, 16)


def atoms():
    from ase.build import molecule

    return molecule("CH3CH2OH")


def graph():
    return et.graph.Graph.from_ase(atoms(), 4.0)


def potential():
    return et.models.Potential(et.models.build("egnn", cutoff=4.0, species=(1, 6, 8), hidden=8, layers=1))


def test_models_build_and_names():
    names = et.models.names()
    assert {"egnn", "many_body_mp"} <= set(names)
    for name in names:
        model = et.models.build(name, cutoff=4.0, species=(1, 6, 8))
        features = model(graph())["node_features"]
        assert features.shape == (9, model.irreps_out.dim)


def test_graph_from_ase_and_batch():
    one = graph()
    both = et.graph.batch([one, one])
    assert (both.num_graphs, both.num_nodes, both.num_edges) == (2, 18, 2 * one.num_edges)
    sender, receiver = one.edge_index
    assert torch.allclose(one.edge_vectors(), one.positions[sender] - one.positions[receiver])
    assert bool((receiver.diff() >= 0).all())


def test_outputs_shapes_and_stress_sign():
    from ase.build import bulk

    model = et.models.Potential(et.models.build("egnn", cutoff=4.0, species=(29,), hidden=8, layers=1))
    crystal = et.graph.Graph.from_ase(bulk("Cu", cubic=True), 4.0)
    outputs = model(crystal, virial=True)
    shapes = {name: tuple(outputs[name].shape) for name in ("energy", "node_energy", "forces", "stress", "virial")}
    assert shapes == {"energy": (1,), "node_energy": (4,), "forces": (4, 3), "stress": (1, 3, 3), "virial": (1, 3, 3)}
    volume = torch.linalg.det(crystal.cell)[0]
    assert torch.allclose(outputs["virial"], -volume * outputs["stress"], atol=1e-6)


def test_save_and_load(tmp_path):
    model, path = potential().eval(), tmp_path / "model.safetensors"
    et.save(model, path)
    loaded = et.load(path, device="cpu", dtype=None)
    assert torch.equal(loaded(graph())["energy"], model(graph())["energy"])
    wide = et.load(path, dtype=torch.float64)
    assert all(p.dtype == torch.float64 for p in wide.parameters())


def test_calculator(tmp_path):
    from equitools.integrations.ase import EquitoolsCalculator

    path = tmp_path / "model.safetensors"
    et.save(potential(), path)
    for given in (path, str(path), potential()):
        molecule = atoms()
        molecule.calc = EquitoolsCalculator(given, device="cpu", dtype=None)
        assert molecule.get_forces().shape == (9, 3)
        assert isinstance(molecule.get_potential_energy(), float)


def test_equivariance_report():
    report = et.testing.equivariance_report(potential(), graph(), group="E(3)")
    assert report.passed is True
    assert 0 <= report.worst < 1e-8
    assert "rotation" in str(report)


def test_tables_are_exact_after_double():
    conv = et.nn.TensorProductConv("2x1o", "1x1o").double()
    x = torch.randn(2, 6, dtype=torch.float64)
    edge, weight = torch.randn(1, 3, dtype=torch.float64), torch.ones(1, conv.weight_numel, dtype=torch.float64)
    rotation = et.groups.random_rotation()
    index = torch.tensor([[0], [1]])

    def turned(irreps, value):
        return value @ et.groups.irreps_matrix(irreps, rotation).T

    got = conv(turned("2x1o", x), turned("1x1o", edge), weight, index, 2)
    wanted = turned(conv.irreps_out, conv(x, edge, weight, index, 2))
    assert torch.allclose(got, wanted, atol=1e-13)


def test_command_line_has_the_promised_commands():
    from equitools.cli.app import app

    names = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert {"info", "demo", "data", "train", "eval", "check", "md", "relax"} <= names
