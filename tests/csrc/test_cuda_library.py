"""The compiled CUDA library as `make cuda-compile` leaves it: what it needs, what it offers. No GPU is used."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_cuda_host import OPERATIONS

from equitools.ops import extension_loaded

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "build" / "cuda" / "_C_cuda.abi3.so"
NEEDED = {"libtorch_cpu.so", "libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "ld-linux-x86-64.so.2"}
NEEDED |= {"libdl.so.2", "librt.so.1", "libpthread.so.0"}  # of an older C library


def load_builder():
    spec = importlib.util.spec_from_file_location("cuda_builder", ROOT / "csrc" / "cuda" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILDER = load_builder()
OBJECTS = LIBRARY.parent / "objects" / "sm_90"
FRESH = LIBRARY.is_file() and all(BUILDER.is_current(OBJECTS / f"{p.name}.o") for p in BUILDER.sources())

compiled = pytest.mark.skipif(not FRESH, reason="no CUDA library of these sources; `make cuda-compile` makes it")


@pytest.fixture
def builder():
    return BUILDER


@compiled
@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm")
def test_undefined_symbols_are_of_the_stable_interface():
    """torch by the C shim only; no symbol of libtorch_cuda, of the CUDA driver or of a CUDA run time."""
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", LIBRARY], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split()[-1] for line in listed.splitlines()}
    system = re.compile(r".*@(GLIBC|GLIBCXX|CXXABI|GCC)_[\d.]+$|_ITM_(de)?registerTMCloneTable$|__gmon_start__$")
    torch = {n for n in names if not system.match(n)}
    assert torch
    assert all(n.startswith(("aoti_torch_", "torch_")) for n in torch), sorted(torch)
    assert not any("cuda_stream" in n for n in torch)  # asked for by name when it runs


@compiled
@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf")
def test_needs_no_cuda_library():
    listed = subprocess.run(["readelf", "-d", LIBRARY], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", listed))
    assert "libtorch_cpu.so" in needed
    assert needed <= NEEDED


@compiled
@pytest.mark.skipif(not extension_loaded(), reason="the extension is not built")
def test_implements_the_operations_for_cuda():
    """Loads beside any torch since 2.10, with CUDA or without, and implements exactly the operations that are named."""
    script = (
        "import json, sys, torch, equitools.ops\n"
        "from equitools.ops import backend\n"
        "backend._cuda.loaded or torch.ops.load_library(sys.argv[1])\n"
        "names = [n for n in torch._C._dispatch_get_all_op_names() if n.startswith('equitools::')]\n"
        "has = torch._C._dispatch_has_kernel_for_dispatch_key\n"
        "print(json.dumps([n for n in names if has(n, 'CUDA') and has(n, 'CPU')]))\n"
        "print(json.dumps(torch.ops.equitools.cuda_atomics(-1)))"
    )
    done = subprocess.run([sys.executable, "-c", script, LIBRARY], capture_output=True, text=True, cwd=ROOT, check=True)
    names, atomics = (json.loads(line) for line in done.stdout.splitlines())
    own = {n.removeprefix("equitools::") for n in names if not n.endswith("cuda_atomics")}
    composite = {"cpu_capability"}
    assert own - composite == set(OPERATIONS)
    assert atomics == 0


@compiled
def test_holds_code_for_the_architecture(builder):
    nvcc = builder.find_nvcc()
    tool = builder.toolkit(nvcc) / "bin" / "cuobjdump" if nvcc else None
    if tool is None or not tool.is_file():
        pytest.skip("no cuobjdump")
    listed = subprocess.run([tool, "--list-elf", LIBRARY], capture_output=True, text=True, check=True).stdout
    assert "sm_90" in listed


def test_architectures_become_options(builder):
    assert builder.generate_code("80;90;100+PTX") == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_100,code=sm_100",
        "-gencode=arch=compute_100,code=compute_100",
    ]
    assert builder.generate_code("8.6,sm_90a") == [
        "-gencode=arch=compute_86,code=sm_86",
        "-gencode=arch=compute_90a,code=sm_90a",
    ]
    with pytest.raises(ValueError, match="EQUITOOLS_CUDA_ARCH"):
        builder.generate_code("hopper")


def test_without_nvcc_the_target_says_so(tmp_path):
    environment = {"PATH": str(tmp_path), "CUDA_HOME": str(tmp_path)}
    command = [sys.executable, ROOT / "csrc" / "cuda" / "build.py", "--output", tmp_path / "library.so"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "skipped" in done.stdout
    assert not list(tmp_path.iterdir())


def test_sources_reach_torch_through_the_stable_interface_only():
    for path in (ROOT / "csrc" / "cuda").iterdir():
        if path.suffix not in {".h", ".cpp", ".cu"}:
            continue
        for line in path.read_text().splitlines():
            assert not line.startswith(("#include <ATen", "#include <c10", "#include <torch/extension")), line
            if line.startswith("#include <torch/"):
                assert line.startswith(("#include <torch/csrc/stable/", "#include <torch/headeronly/")), line
            if path.suffix == ".cu":
                assert "torch/" not in line, f"{path.name} includes torch"
