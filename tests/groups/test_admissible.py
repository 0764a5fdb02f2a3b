"""Which activations commute with which representations: what passes does, what is refused does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from equitools.errors import ConfigError
from equitools.groups.admissible import ACTIVATION_KINDS, check_admissible, classify_activation, commutes_with_factor
from equitools.groups.generators import Generators
from equitools.groups.representations import Rep, regular, scalar, vector

ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "identity": (torch.nn.Identity(), "linear"),
    "triple": (lambda t: 3 * t, "linear"),
    "shifted": (lambda t: 3 * t - 1, "affine"),
    "constant": (lambda t: torch.full_like(t, 2.0), "affine"),
    "zero": (torch.zeros_like, "linear"),
    "relu": (torch.relu, "positively homogeneous"),
    "relu module": (torch.nn.ReLU(), "positively homogeneous"),
    "leaky": (functional.leaky_relu, "positively homogeneous"),
    "prelu": (torch.nn.PReLU(), "positively homogeneous"),
    "abs": (torch.abs, "positively homogeneous"),
    "tanh": (torch.tanh, "odd"),
    "sine": (torch.sin, "odd"),
    "cube": (lambda t: t**3, "odd"),
    "hardshrink": (torch.nn.Hardshrink(), "odd"),
    "silu": (functional.silu, "generic"),
    "cosine": (torch.cos, "generic"),
    "exp": (torch.exp, "generic"),
    "square": (torch.square, "generic"),
    "relu, shifted": (lambda t: torch.relu(t) + 1, "generic"),
}


def groups() -> dict[str, Rep]:
    swap = torch.tensor([[0.0, 1], [1, 0]])
    half = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])  # rows have the sum 1
    return {
        "scalars": 3 * scalar("SO(3)"),
        "rotations": vector("SO(2)") + scalar("SO(2)"),
        "permutations": vector(Generators(None, [swap])),
        "regular": regular("D4"),
        "signed": vector("O"),
        "pseudoscalar": Rep.from_irreps("2x0e+0o"),
        "scaling": vector(Generators([torch.eye(2)])),
        "doubling": vector(Generators(None, [2 * swap])),
        "stochastic": vector(Generators(None, [half])),
        "stochastic algebra": vector(Generators([half - torch.eye(3)])),
        "weights": vector(Generators([torch.diag(torch.tensor([1.0, -1.0]))])),
    }


def commutes(rep: Rep, activation: Callable[[Tensor], Tensor]) -> bool:
    random = torch.Generator().manual_seed(0)
    g = rep.matrix(rep.group.sample(24, random, scale=0.7))
    x = (
        torch.randn(24, rep.dim, generator=random, dtype=torch.float64)
        * torch.tensor([0.3, 1.0, 4.0]).repeat(8)[:, None]
    )
    with torch.no_grad():
        function = activation.double() if isinstance(activation, torch.nn.Module) else activation
        left, right = function(torch.einsum("nij,nj->ni", g, x)), torch.einsum("nij,nj->ni", g, function(x))
    return bool(((left - right).abs() <= 1e-9 * (1 + left.abs() + right.abs())).all())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_classes(name: str) -> None:
    activation, kind = ACTIVATIONS[name]
    assert classify_activation(activation) == kind
    assert kind in ACTIVATION_KINDS


@pytest.mark.parametrize("group", groups())
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_sound_and_complete(group: str, name: str) -> None:
    rep, (activation, _) = groups()[group], ACTIVATIONS[name]
    try:
        check_admissible(rep, activation)
        admitted = True
    except ConfigError:
        admitted = False
    assert admitted == commutes(rep, activation)


def test_the_table_of_the_paper() -> None:
    """Rotations none, signed permutations odd ones, permutations all, positive scalings the homogeneous ones."""
    admitted = {
        group: {
            kind
            for activation, kind in ACTIVATIONS.values()
            if commutes(rep, activation) and kind not in {"linear", "affine"}
        }
        for group, rep in groups().items()
    }
    assert admitted["rotations"] == set()
    assert admitted["signed"] == admitted["pseudoscalar"] == {"odd"}
    assert admitted["scaling"] == {"positively homogeneous"}
    assert admitted["permutations"] == admitted["regular"] == {"positively homogeneous", "odd", "generic"}


def test_known_modules_are_what_the_grid_finds() -> None:
    from equitools.groups.admissible import _KNOWN

    for module, kind in _KNOWN.items():
        made = module()
        assert classify_activation(made.forward) == kind


def test_a_scaling_that_one_function_survives() -> None:
    """σ(2t) = 2σ(t) holds for t·(2 + cos(2π log₂ |t|)), which is neither homogeneous nor linear."""

    def wave(t: Tensor) -> Tensor:
        return t * (2 + torch.cos(2 * torch.pi * torch.log2(t.abs().clamp_min(1e-30))))

    assert classify_activation(wave) == "odd"
    assert commutes_with_factor(wave, 2.0)
    check_admissible(groups()["doubling"], wave)
    with pytest.raises(ConfigError):
        check_admissible(vector(Generators(None, [3 * torch.eye(2)])), wave)


def test_messages() -> None:
    with pytest.raises(ConfigError, match=r"silu \(generic\).*SO\(2\) on V.*mixes coordinates.*GatedNonlinearity"):
        check_admissible(vector("SO(2)"), functional.silu)
    with pytest.raises(ConfigError, match="entry -1"):
        check_admissible(vector("O"), functional.relu)
    with pytest.raises(ConfigError, match="sum 1"):
        check_admissible(vector("O"), lambda t: t + 1)
    with pytest.raises(ConfigError, match="not 0 at 0"):
        check_admissible("0o", torch.cos)
    with pytest.raises(ConfigError, match="positively homogeneous activation"):
        check_admissible(vector(Generators([torch.eye(2)])), torch.tanh)
    assert check_admissible("4x0e", functional.silu) == "generic"


def test_what_is_no_pointwise_function() -> None:
    for wrong, match in (
        (lambda t: torch.softmax(t, -1), "mixes"),
        (torch.nn.Dropout(0.5), "random"),
        (torch.sum, "a number for each number"),
        (torch.nn.PReLU(3), "each channel"),
    ):
        with pytest.raises(ConfigError, match=match):
            classify_activation(wrong)
