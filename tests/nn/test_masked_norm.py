from __future__ import annotations

import pytest
import torch

from equitools.errors import ShapeError
from equitools.nn import MaskedBatchNorm


def pair():
    torch.manual_seed(1)
    mine, theirs = MaskedBatchNorm(4).double(), torch.nn.BatchNorm1d(4).double()
    for parameter in mine.parameters():
        torch.nn.init.normal_(parameter)
    theirs.load_state_dict(mine.state_dict())
    return mine, theirs


@pytest.mark.parametrize("training", [True, False])
def test_plain_without_mask(training):
    mine, theirs = pair()
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    mine.train(training), theirs.train(training)
    torch.testing.assert_close(mine(x), theirs(x.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(mine.state_dict(), theirs.state_dict())


def test_padding_is_nothing():
    mine, theirs = pair()
    mask = torch.rand(3, 5, 2) < 0.6
    x = torch.randn(3, 5, 2, 4, dtype=torch.float64, requires_grad=True)
    out, wanted = mine(x, mask), theirs(x[mask])
    torch.testing.assert_close(out[mask], wanted)
    assert not out[~mask].any()
    torch.testing.assert_close(mine.state_dict(), theirs.state_dict())
    weight = torch.randn_like(wanted)
    got, expected = (torch.autograd.grad((o * weight).sum(), x)[0] for o in (out[mask], wanted))
    torch.testing.assert_close(got, expected)
    assert not got[~mask].any()
    mine.eval(), theirs.eval()
    torch.testing.assert_close(mine(x, mask)[mask], theirs(x[mask]))


def test_derivatives():
    mine, _ = pair()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    frozen = MaskedBatchNorm(4, track_running_stats=False).double()
    frozen.load_state_dict(mine.state_dict(), strict=False)
    assert torch.autograd.gradcheck(lambda v: frozen(v, mask), x)
    assert torch.autograd.gradgradcheck(lambda v: frozen(v, mask), x)


def test_few_entries():
    layer = MaskedBatchNorm(4)
    assert layer(torch.zeros(0, 7, 4)).shape == (0, 7, 4)
    assert layer(torch.zeros(0, 7, 4), torch.ones(0, 7, dtype=torch.bool)).shape == (0, 7, 4)
    with pytest.raises(ShapeError, match="more than one entry"):
        layer(torch.zeros(1, 4))
    with pytest.raises(ShapeError, match="mask"):
        layer(torch.zeros(2, 4), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ShapeError, match="normalises"):
        layer(torch.zeros(2, 5))
    assert layer.eval()(torch.zeros(1, 4)).shape == (1, 4)
