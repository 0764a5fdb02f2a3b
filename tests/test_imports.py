"""What an import brings with it: nothing that the user did not ask for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from equitools.groups._e3nn import E3NN_VERSION

#: Packages that cost their users tenths of seconds or are optional, and that networks and operations do without.
HEAVY = (
    "ase", "lightning", "matplotlib", "tensorboard", "pandas", "scipy", "sympy", "h5py", "rich", "typer",
    "torch_scatter", "torch._dynamo", "torch._inductor", "torch.fx.experimental.proxy_tensor",
)  # fmt: skip


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a statement loads beyond those that torch itself has loaded."""
    code = (
        f"import json, sys, torch; before = set(sys.modules)\n{statement}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_package_itself_imports_nothing() -> None:
    loaded = loaded_by("import equitools")
    assert {name for name in loaded if name.startswith("equitools")} == {"equitools", "equitools._version"}


@pytest.mark.parametrize("statement", ["import equitools.ops", "from equitools import graph, groups, models, nn, ops"])
def test_networks_import_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & set(HEAVY)


def test_a_plugin_is_not_imported_before_it_is_asked_for() -> None:
    assert "equitools.training" not in loaded_by("import equitools.models")


def test_e3nn_is_whole_for_whoever_uses_it() -> None:
    """Only its irreps are loaded; the rest comes when it is touched, and there is one class of irreps."""
    code = (
        "from equitools.groups import Irreps\n"
        "import pickle, sys\n"
        "import e3nn\n"
        "assert 'e3nn.o3._spherical_harmonics' not in sys.modules\n"
        "assert 'spherical_harmonics' in dir(e3nn.o3)\n"
        "from e3nn import o3\n"
        "import e3nn.nn\n"
        "assert o3.Irreps is Irreps and isinstance(o3.Linear('2x0e', '2x0e').irreps_in, Irreps)\n"
        "assert type(o3).__name__ == 'module' and sys.modules['e3nn.o3'] is o3 is e3nn.o3\n"
        "assert pickle.loads(pickle.dumps(Irreps('1o'))) == o3.Irreps('1o')\n"
        "assert o3.wigner_3j(1, 1, 0).shape == (3, 3, 1)\n"
        "try:\n    o3.nothing_of_this_name\n"
        "except AttributeError:\n    pass\n"
        "else:\n    raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.skipif(E3NN_VERSION.startswith("0.4"), reason="torch refuses the table of e3nn 0.4 if it comes first")
def test_e3nn_may_be_imported_first() -> None:
    code = "from e3nn import o3\nfrom equitools.groups import Irreps\nassert o3.Irreps is Irreps\n"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
