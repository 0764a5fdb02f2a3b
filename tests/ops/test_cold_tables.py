"""Tables that are made for the first time inside a tracer, a fake mode or a default device: they hold numbers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: What makes each kind of tables, by a name; the layers are made outside, the tables inside.
PREPARED = """
import torch
from equitools.nn import GauntContraction, GauntConvolution, GauntTensorProduct, SO2Convolution
from equitools.ops import edge_frames, gaunt_convolution, gaunt_powers, gaunt_tensor_product, matrix_product

torch.manual_seed(0)
x, vectors = torch.randn(4, 9, 3), torch.randn(4, 3)
columns, weight = torch.randn(4, 27), torch.randn(4, 9)
index = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
species = torch.tensor([0, 1, 1, 0])
C = "3x0e + 3x1o + 3x2e"
so2, gaunt = SO2Convolution(C, C), GauntConvolution(C, 2, odd="curl", method="pole")
product, powers = GauntTensorProduct(C, C, odd="curl"), GauntContraction(C, C, 3, 2)
RUNS = {
    "frames": lambda x, v: edge_frames(v, 3).blocks[3],
    "pole": lambda x, v: gaunt_convolution(x, v, weight.to(x).view(4, 3, 3), method="pole"),
    "zonal": lambda x, v: gaunt_convolution(x, v, weight.to(x).view(4, 3, 3)[..., :1], method="pole"),
    "grid": lambda x, v: gaunt_tensor_product(x, x, method="grid"),
    "sparse": lambda x, v: gaunt_tensor_product(x, x, curl=True, method="sparse"),
    "fourier": lambda x, v: gaunt_tensor_product(x, x, method="fourier"),
    "powers": lambda x, v: gaunt_powers(x, 3),
    "matrices": lambda x, v: matrix_product(x, x)[0],
    "so2 layer": lambda x, v: so2(x.flatten(1), v, index.to(x.device), 4),
    "gaunt layer": lambda x, v: gaunt(x.flatten(1), v, weight.to(x), index.to(x.device), 4),
    "product layer": lambda x, v: product(x.flatten(1), x.flatten(1)),
    "contraction": lambda x, v: powers(x.flatten(1), species.to(x.device)),
}

class Module(torch.nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run, self.layers = run, torch.nn.ModuleList([so2, gaunt, product, powers])

    def forward(self, x, v):
        return self.run(x, v)
"""
#: Each is followed by a second call without the mode, which must not find what the mode has left.
MODES = {
    "export": "found = torch.export.export(Module(run), (x, vectors), strict=False).module()(x, vectors)",
    "make_fx": "from torch.fx.experimental.proxy_tensor import make_fx\nfound = make_fx(run)(x, vectors)(x, vectors)",
    "fake": (
        "from torch._subclasses.fake_tensor import FakeTensorMode\n"
        "with FakeTensorMode(allow_non_fake_inputs=True) as mode:\n"
        "    found = run(mode.from_tensor(x), mode.from_tensor(vectors))\n"
        "assert found.shape == run(x, vectors).shape\nfound = run(x, vectors)"
    ),
    "meta": "with torch.device('meta'):\n    found = run(x, vectors)",
}
CHECK = """
with torch.no_grad():
    for name, run in RUNS.items():
        exec(MODE)
        assert type(found) is torch.Tensor and found.device.type == "cpu", name
        again = run(x, vectors)
        assert float((found - again).abs().max()) <= 1e-5 * float(again.abs().max()) > 0, name
print("done")
"""


@pytest.mark.parametrize("mode", MODES)
def test_tables_of_the_first_call_hold_numbers(mode: str) -> None:
    program = f"{PREPARED}\nMODE = {MODES[mode]!r}\n{CHECK}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"
