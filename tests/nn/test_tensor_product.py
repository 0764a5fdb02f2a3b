"""TensorProductConv against e3nn, for any multiplicities and in both layouts."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import GraphError, IrrepsError, ShapeError
from equitools.groups import Irreps, clebsch_gordan
from equitools.groups._e3nn import E3NN_VERSION
from equitools.nn import TensorProductConv, to_ir_mul, to_mul_ir

OLD = tuple(int(part) for part in E3NN_VERSION.split(".")[:2]) < (0, 5)
CASES = [
    ("4x0e + 4x1o", "0e + 1o + 2e", "0e + 1o + 2e"),
    ("3x0e + 2x1o + 1x2e", "2x0e + 3x1o", None),
    ("2x0o + 2x1e", "0e + 1o", "1o + 0o + 1e"),
    ("2x1o + 2x0e", "1o + 0e", None),
]


def e3nn_product(conv: TensorProductConv, irreps_out: str | None):
    from e3nn import o3

    allowed = None if irreps_out is None else [ir for _, ir in Irreps(irreps_out)]
    mid, instructions = [], []
    for i, (mul, ir1) in enumerate(conv.irreps_in):
        for j, (_, ir2) in enumerate(conv.irreps_edge):
            for ir in ir1 * ir2:
                if allowed is None or ir in allowed:
                    instructions.append((i, j, len(mid), "uvu", True))
                    mid.append((mul, ir))
    mid_irreps, p, _ = Irreps(mid).sort()
    instructions = [(i, j, p[k], mode, train) for i, j, k, mode, train in instructions]
    return o3.TensorProduct(
        conv.irreps_in, conv.irreps_edge, mid_irreps, instructions, shared_weights=False, internal_weights=False,
        irrep_normalization="component", path_normalization="element",
    ).double()  # fmt: skip


@pytest.mark.skipif(OLD, reason="e3nn 0.4 has other signs; its tensors are compared in tests/groups")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_e3nn(case: tuple[str, str, str | None]) -> None:
    conv = TensorProductConv(*case)
    theirs = e3nn_product(conv, case[2])
    assert conv.irreps_out == theirs.irreps_out
    assert conv.weight_numel == theirs.weight_numel
    g = torch.Generator().manual_seed(0)
    x = torch.randn(5, conv.irreps_in.dim, generator=g, dtype=torch.float64)
    y = torch.randn(9, conv.irreps_edge.dim, generator=g, dtype=torch.float64)
    w = torch.randn(9, conv.weight_numel, generator=g, dtype=torch.float64)
    edge_index = torch.randint(0, 5, (2, 9), generator=g)
    expected = torch.zeros(5, conv.irreps_out.dim, dtype=torch.float64)
    expected.index_add_(0, edge_index[1], theirs(x[edge_index[0]], y, w))
    torch.testing.assert_close(conv(x, y, w, edge_index, 5), expected, atol=1e-6, rtol=1e-6)  # e3nn's table is float32
    inner = TensorProductConv(*case, layout="ir_mul")
    out = inner(to_ir_mul(x, conv.irreps_in), y, w, edge_index, 5)
    torch.testing.assert_close(to_mul_ir(out, conv.irreps_out), conv(x, y, w, edge_index, 5), atol=1e-12, rtol=1e-12)


def test_single_path_by_hand() -> None:
    conv = TensorProductConv("1x1o", "1o", "2e")
    x, y = torch.randn(2, 3, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)
    out = conv(x, y, torch.ones(1, 1, dtype=torch.float64), torch.tensor([[1], [0]]), 2)
    expected = torch.einsum("i,j,ijk->k", x[1], y[0], clebsch_gordan(1, 1, 2)) * 5**0.5
    torch.testing.assert_close(out[0], expected)
    assert not out[1].any()


def test_single_precision_module_is_exact_when_doubled() -> None:
    conv = TensorProductConv("2x0e + 2x1o", "0e + 1o").double()
    assert not conv.state_dict()
    x, y = torch.randn(2, 8, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
    w = torch.randn(1, conv.weight_numel, dtype=torch.float64)
    edge = torch.tensor([[0], [1]])
    from equitools.ops.tensor_product_conv import tensor_product_conv_reference

    torch.testing.assert_close(
        conv(x, y, w, edge, 2), tensor_product_conv_reference(conv.plan, x, y, w, edge, 2), atol=1e-14, rtol=1e-14
    )


def test_wrong_input() -> None:
    conv = TensorProductConv("2x0e", "0e + 1o")
    x, y, w, edge = (
        torch.randn(3, 2),
        torch.randn(4, 4),
        torch.randn(4, conv.weight_numel),
        torch.zeros(2, 4, dtype=torch.int64),
    )
    with pytest.raises(GraphError, match="senders"):
        conv(x, y, w, edge + 3, 3)
    with pytest.raises(ShapeError, match="x must be"):
        conv(x[:, :1], y, w, edge, 3)
    with pytest.raises(ShapeError, match="weight of the convolution"):
        conv(x, y, w[:2], edge, 3)
    with pytest.raises(ShapeError, match="float64"):
        conv(x, y.double(), w, edge, 3)
    with pytest.raises(ShapeError, match="float64"):
        conv(x, y, w.double(), edge, 3)
    with pytest.raises(ShapeError, match="int64"):
        conv(x, y, w, edge.int(), 3)
    with pytest.raises(ShapeError, match="x of the convolution"):
        conv(x[None], y, w, edge, 3)
    with pytest.raises(GraphError):
        conv(x, y, w, edge + torch.tensor([[0], [3]]), 3)  # a receiver out of range
    general = TensorProductConv("2x0e + 1x1o", "2x0e")
    with pytest.raises(ShapeError, match="float64"):
        general(torch.randn(3, 5), torch.randn(4, 2), torch.randn(4, general.weight_numel).double(), edge, 3)
    with pytest.raises(IrrepsError, match="cannot produce"):
        TensorProductConv("0e", "0e", "2e")
    with pytest.raises(IrrepsError, match="layout"):
        TensorProductConv("0e", "0e", layout="sideways")
