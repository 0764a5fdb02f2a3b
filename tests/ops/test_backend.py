from __future__ import annotations

import json
import subprocess
import sys
import warnings

import pytest
import torch

from equitools.errors import BackendError
from equitools.ops import active_backend, extension_loaded, segment_sum, spherical_harmonics, status, use_backend
from equitools.ops import backend as backend_module
from equitools.ops.backend import BackendFallbackWarning, cpu_capability, requested_backend

needs_kernels = pytest.mark.skipif(not extension_loaded(), reason="the extension is not built")
ABSENT = backend_module._Extension(False, "extension not built (no C++ compiler)", "run `make setup`")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.delenv("EQUITOOLS_BACKEND", raising=False)
    monkeypatch.setattr(backend_module, "_reported", set())


def test_status_names_every_backend_and_why():
    entries = {s.name: s for s in status()}
    assert list(entries) == ["reference", "cpu", "cuda", "torch_scatter"]
    assert entries["reference"].active
    assert entries["cpu"].active == extension_loaded()
    assert all(s.reason for s in entries.values())
    if torch.version.cuda is None:
        assert entries["cuda"].reason == "no CUDA in this torch build"


def test_status_without_extension(monkeypatch):
    monkeypatch.setattr(backend_module, "_extension", ABSENT)
    entry = status()[1]
    assert not entry.active
    assert "not built" in entry.reason
    assert "make setup" in entry.hint
    assert cpu_capability() == "none"


def test_old_torch_is_named(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    extension = backend_module._load_extension()
    assert not extension.loaded
    assert "torch 2.9.1+cpu < 2.10" in extension.reason


def test_build_record_is_told(monkeypatch, tmp_path):
    (tmp_path / "_build.json").write_text(json.dumps({"extension": "skipped", "reason": "no C++ compiler"}))
    monkeypatch.setattr(backend_module, "_PACKAGE", tmp_path)
    extension = backend_module._load_extension()
    assert extension.reason == "extension not built (no C++ compiler)"
    assert "make setup" in extension.hint


def test_broken_library_is_told(monkeypatch, tmp_path):
    (tmp_path / "_C.abi3.so").write_bytes(b"not a library")
    monkeypatch.setattr(backend_module, "_PACKAGE", tmp_path)
    assert "does not load" in backend_module._load_extension().reason


@needs_kernels
def test_choice_follows_the_tensor():
    assert active_backend(torch.zeros(1)) == "cpu"
    assert active_backend(torch.zeros(1, dtype=torch.float16)) == "reference"
    assert active_backend(torch.zeros(1, device="meta")) == "reference"
    with use_backend("reference"):
        assert active_backend(torch.zeros(1)) == "reference"
        with use_backend("auto"):
            assert active_backend(torch.zeros(1)) == "cpu"
        assert requested_backend() == "reference"
    assert requested_backend() == "auto"


def test_choice_is_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), use_backend("reference"):
        raise ZeroDivisionError
    assert requested_backend() == "auto"


def test_environment(monkeypatch):
    monkeypatch.setenv("EQUITOOLS_BACKEND", "reference")
    assert active_backend(torch.zeros(1)) == "reference"
    monkeypatch.setenv("EQUITOOLS_BACKEND", "referense")
    with pytest.raises(BackendError, match=r"EQUITOOLS_BACKEND.*Did you mean 'reference'"):
        spherical_harmonics(1, torch.ones(1, 3))


def test_forced_kernels_that_are_absent(monkeypatch):
    monkeypatch.setattr(backend_module, "_extension", ABSENT)
    monkeypatch.setenv("EQUITOOLS_BACKEND", "cpu")
    with pytest.raises(BackendError, match="make setup"):
        segment_sum(torch.ones(2), torch.tensor([0, 1]), 2)
    monkeypatch.delenv("EQUITOOLS_BACKEND")
    with pytest.raises(BackendError, match="make setup"), use_backend("cpu"):
        pass


def test_unknown_name():
    with pytest.raises(BackendError, match="'cpu'"), use_backend("cpus"):
        pass


def test_torch_scatter_that_is_absent(monkeypatch):
    monkeypatch.setattr(backend_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r"equitools\[scatter\]"), use_backend("torch_scatter"):
        pass


def test_fallback_is_reported_once(monkeypatch):
    monkeypatch.setattr(backend_module, "_extension", ABSENT)
    vectors = torch.ones(2, 3)
    with pytest.warns(BackendFallbackWarning, match=r"spherical_harmonics runs on the reference.*no C\+\+ compiler"):
        spherical_harmonics(1, vectors)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spherical_harmonics(1, vectors)


@needs_kernels
def test_half_precision_is_reported_and_an_error_when_forced():
    vectors = torch.ones(2, 3, dtype=torch.bfloat16)
    with pytest.warns(BackendFallbackWarning, match="bfloat16"):
        spherical_harmonics(1, vectors)
    with pytest.raises(BackendError, match="float32 and float64"), use_backend("cpu"):
        spherical_harmonics(1, vectors)


def test_asking_for_the_reference_is_silent(monkeypatch):
    monkeypatch.setattr(backend_module, "_extension", ABSENT)
    with warnings.catch_warnings(), use_backend("reference"):
        warnings.simplefilter("error")
        spherical_harmonics(1, torch.ones(2, 3))


@needs_kernels
@pytest.mark.slow
@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same(capability):
    code = """
import torch
from equitools.ops import segment_softmax, spherical_harmonics, use_backend
from equitools.ops.backend import cpu_capability
x = torch.randn(37, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
r = torch.arange(37) // 4
def run():
    y = segment_softmax(spherical_harmonics(6, x), r, 10)
    (g,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.square().sum(), x)
    return torch.cat([y.flatten(), g.flatten(), h.flatten()]).detach()
with use_backend("cpu"):
    a = run()
with use_backend("reference"):
    b = run()
torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
print(cpu_capability())
"""
    environment = {"EQUITOOLS_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    if capability == "default":
        assert done.stdout.strip() == "baseline"
