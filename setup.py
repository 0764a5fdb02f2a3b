"""Builds the compiled kernels where that is possible; setup.cfg says everything else.

torch is no build requirement. Its headers come from the environment that the package is installed into, also when pip
builds in an isolated one. Without them, or without a C++ compiler, the package is installed without kernels, and
``equitools/_build.json`` keeps the reason for ``equitools info``. The library reaches torch through its stable binary
interface only, so that one binary serves every torch since 2.10; torch is loaded before it.

The CUDA kernels are a library of their own (csrc/cuda/build.py), made where there is nvcc and torch has CUDA or
``EQUITOOLS_BUILD_CUDA=1`` asks for it; ``EQUITOOLS_BUILD_CUDA=0`` forbids it.
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MINIMUM_TORCH = (2, 10)
FLAGS = [
    "-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wno-psabi",
    "-DTORCH_TARGET_VERSION=0x020a000000000000",
    f"-ffile-prefix-map={ROOT}=.",  # messages and symbols name the file, not the folder in which it was built
]  # fmt: skip
#: Flags of the sources that hold one instruction set, by the end of their names; other processors leave them out.
ISA_FLAGS = {
    "_avx2.cpp": ["-mavx2", "-mfma"],
    "_avx512.cpp": [
        "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma", "-mprefer-vector-width=512",
    ],
}  # fmt: skip


def site_packages() -> list[Path]:
    """Return the folders in which the target environment keeps its packages, with those that .pth files add."""
    schemes = [sysconfig.get_paths(), sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_prefix})]
    folders = [Path(os.environ["EQUITOOLS_SITE_PACKAGES"])] if "EQUITOOLS_SITE_PACKAGES" in os.environ else []
    folders += [Path(scheme[key]) for scheme in schemes for key in ("purelib", "platlib")]
    for folder in list(folders):
        for pth in sorted(folder.glob("*.pth")):
            lines = pth.read_text(encoding="utf-8", errors="replace").splitlines()
            folders += [
                folder / line.strip() for line in lines if line.strip() and not line.startswith(("#", "import"))
            ]
    return list(dict.fromkeys(folders))


def find_torch() -> Path | None:
    """Return the folder of the torch package to compile against."""
    spec = importlib.util.find_spec("torch")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent
    return next((folder / "torch" for folder in site_packages() if (folder / "torch" / "version.py").is_file()), None)


def find_compiler() -> list[str] | None:
    """Return the command of the C++ compiler: ``CXX``, else the first of the usual names."""
    candidates = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]
    return next((shlex.split(c) for c in candidates if shutil.which(shlex.split(c)[0])), None)


def obstacle(torch: Path | None, compiler: list[str] | None) -> str:
    """Return why the kernels cannot be built here; empty if they can be tried."""
    if os.environ.get("EQUITOOLS_NO_EXTENSION") == "1":
        return "EQUITOOLS_NO_EXTENSION=1 was set at installation"
    if os.name != "posix":
        return f"kernels are built on Linux and macOS only, this is {platform.system()}"
    if torch is None:
        return "torch was not installed when equitools was"
    version = re.search(r"__version__ = ['\"](\d+)\.(\d+)", (torch / "version.py").read_text(encoding="utf-8"))
    if version is None or (int(version[1]), int(version[2])) < MINIMUM_TORCH:
        found = ".".join(version.groups()) if version else "unknown"
        return f"torch {found} was installed when equitools was; the kernels need 2.10 or newer"
    if compiler is None:
        return "no C++ compiler (g++, c++, clang++ or $CXX) was found"
    return ""


TORCH = find_torch()
COMPILER = find_compiler()
OBSTACLE = obstacle(TORCH, COMPILER)


def sources() -> list[str]:
    """Return the C++ sources for this processor."""
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    found = sorted((ROOT / "csrc").glob("cpu/*.cpp")) + sorted((ROOT / "csrc").glob("torch/*.cpp"))
    return [str(p.relative_to(ROOT)) for p in found if x86 or not isa_flags(p.name)]


def isa_flags(name: str) -> list[str]:
    """Return the flags of a source's instruction set; none for portable sources."""
    return next((flags for end, flags in ISA_FLAGS.items() if name.endswith(end)), [])


def write_record(folder: Path, **record: str) -> None:
    """Keep what became of the kernels, for ``equitools info``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_build.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if record["reason"]:
        print(f"equitools: installing without compiled kernels: {record['reason']}", file=sys.stderr)


def cuda_builder():
    """Return csrc/cuda/build.py, which knows how the CUDA library is made."""
    spec = importlib.util.spec_from_file_location("cuda_builder", ROOT / "csrc" / "cuda" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cuda_obstacle(nvcc: str | None) -> str:
    """Return why the CUDA kernels are not built here; empty if they can be tried."""
    choice = os.environ.get("EQUITOOLS_BUILD_CUDA", "")
    if choice == "0":
        return "EQUITOOLS_BUILD_CUDA=0 was set at installation"
    text = (TORCH / "version.py").read_text(encoding="utf-8")
    if choice != "1" and not re.search(r"^cuda\b[^=]*= *['\"]", text, re.MULTILINE):
        return "the torch that equitools was built against has no CUDA (EQUITOOLS_BUILD_CUDA=1 builds them anyway)"
    return "" if nvcc else "nvcc was not found when equitools was installed (CUDA_HOME, the path, /usr/local/cuda)"


class BuildPy(build_py):
    """Copies the package and, where no extension will be built, says why beside it."""

    def run(self) -> None:
        super().run()
        if OBSTACLE:
            folder = ROOT / "equitools" if self.editable_mode else Path(self.build_lib) / "equitools"
            (folder / "_C.abi3.so").unlink(missing_ok=True)  # of an earlier build, of other sources
            write_record(folder, extension="skipped", reason=OBSTACLE)


class BuildExt(build_ext):
    """Compiles the kernels with the plain compiler; a failure is recorded and does not fail the installation."""

    def run(self) -> None:
        super().run()
        target = Path(self.get_ext_fullpath("equitools._C")).with_name("_C_cuda.abi3.so")
        builder = cuda_builder()
        reason = cuda_obstacle(builder.find_nvcc())
        if reason:
            target.unlink(missing_ok=True)  # of an earlier build, of other sources
        else:
            try:
                builder.build(target, Path(self.build_temp) / "cuda", TORCH, COMPILER)
            except (subprocess.CalledProcessError, OSError, ValueError) as error:
                print(getattr(error, "stderr", ""), file=sys.stderr)
                target.unlink(missing_ok=True)
                reason = f"their build failed: {error}"[:300]
        record = ROOT / "equitools" if self.inplace or self.editable_mode else target.parent
        if (record / "_build.json").is_file():
            kept = json.loads((record / "_build.json").read_text(encoding="utf-8"))
            write_record(record, **(kept | {"cuda": "not built" if reason else "built", "cuda_reason": reason}))

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).with_name("_C.abi3.so")
        record_in = ROOT / "equitools" if self.inplace or self.editable_mode else target.parent
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.compile_and_link(ext, target)
        except subprocess.CalledProcessError as error:
            print(error.stderr, file=sys.stderr)
            target.unlink(missing_ok=True)
            first = next((line for line in error.stderr.splitlines() if "error" in line), "no message")
            write_record(record_in, extension="failed", reason=f"the compiler failed: {first[:300]}")
            return
        write_record(record_in, extension="built", reason="", torch=str(read_version()), compiler=" ".join(COMPILER))

    def compile_and_link(self, ext: Extension, target: Path) -> None:
        objects = Path(self.build_temp) / "equitools"
        objects.mkdir(parents=True, exist_ok=True)
        include = [f"-I{TORCH / 'include'}", f"-I{TORCH / 'include' / 'torch' / 'csrc' / 'api' / 'include'}"]
        jobs = []
        for source in ext.sources:
            out = objects / (source.replace("/", "_") + ".o")
            flags = [*FLAGS, *isa_flags(source), *include]
            jobs.append([*COMPILER, *flags, "-c", str(ROOT / source), "-o", str(out)])
        with concurrent.futures.ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(run, jobs))
        if sys.platform == "darwin":
            link = ["-undefined", "dynamic_lookup"]
        else:  # Python keeps torch's symbols private; naming the library, without a path, finds the one that is loaded
            link = [f"-L{TORCH / 'lib'}", "-Wl,--no-as-needed", "-ltorch_cpu"]
        fresh = target.with_suffix(".partial")
        run([*COMPILER, "-shared", *(job[-1] for job in jobs), *link, "-o", str(fresh)])
        fresh.replace(target)  # a process that has the old library open keeps it


def run(command: list[str]) -> None:
    """Run one compiler command; its messages go into the exception."""
    subprocess.run(command, check=True, capture_output=True, text=True)


def read_version() -> str:
    """Return the version of the torch that is compiled against."""
    match = re.search(r"__version__ = ['\"]([^'\"]+)", (TORCH / "version.py").read_text(encoding="utf-8"))
    return match[1] if match else "unknown"


kernels = Extension("equitools._C", sources=sources(), py_limited_api=True, optional=True)

setup(
    ext_modules=[] if OBSTACLE else [kernels],
    cmdclass={"build_py": BuildPy, "build_ext": BuildExt},
    options={} if OBSTACLE else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
