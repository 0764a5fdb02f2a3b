"""What all tests share: seeds, few threads, an untouched default dtype, and small structures."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
# The same examples at every run; a slow machine is no failure.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _fixed_seed_and_untouched_globals() -> Iterator[None]:
    torch.manual_seed(0)
    before = torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()
    yield
    after = torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()
    torch.set_default_dtype(before[0])
    torch.set_grad_enabled(before[1])
    torch.use_deterministic_algorithms(before[2])
    assert after == before, f"the test changed a global setting of torch: {before} became {after}"


@pytest.fixture
def ethanol():
    """An ASE molecule of 9 atoms: H, C and O."""
    from ase.build import molecule

    return molecule("CH3CH2OH")


@pytest.fixture
def water():
    """An ASE molecule of 3 atoms."""
    from ase.build import molecule

    return molecule("H2O")


@pytest.fixture
def quartz_like():
    """A skewed periodic ASE cell of Si and O, without symmetry and smaller than usual cutoffs."""
    from ase import Atoms

    return Atoms(
        "SiO2",
        positions=[[0.1, 0.0, 0.2], [1.6, 0.3, 0.1], [0.2, 1.7, 0.9]],
        cell=[[3.4, 0.1, 0.0], [0.4, 3.7, 0.2], [-0.3, 0.2, 3.2]],
        pbc=True,
    )


@pytest.fixture(params=["reference", "cpu"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on the reference and on the compiled kernels; the latter is skipped where they are not built."""
    from equitools import ops

    if request.param == "cpu" and not ops.extension_loaded():
        pytest.skip("the compiled kernels are not built here")
    with ops.use_backend(request.param):
        yield request.param
