"""Builds ``_C_cuda.abi3.so``: nvcc compiles the kernels, the C++ compiler the rest.

setup.py calls `build`; by itself (``python csrc/cuda/build.py --arch 90 --output build/_C_cuda.abi3.so``) it compiles
what is there, which needs no GPU. The CUDA run time is linked statically. libtorch_cuda is no dependency: the library
asks it for the current stream by name, so that it loads (and lists its operations) beside a torch without CUDA, too.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
DEFAULT_ARCHITECTURES = "80;90;100+PTX"
FLAGS = ["-std=c++20", "-O3"]
HOST_FLAGS = ["-fPIC", "-fvisibility=hidden", "-Wall", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
#: A lambda made in a kernel and called by a function for host and device: nvcc cannot see that the host never does so.
QUIET = ["-diag-suppress=20014,20011"]
#: Sources that the library shares with the CPU one.
SHARED = [SOURCE.parent / "cpu" / "spherical_harmonics_table.cpp"]


def find_nvcc() -> str | None:
    """Return nvcc: of ``CUDA_HOME`` or ``CUDA_PATH`` if one is set, else of the path, else of the usual place."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(name):
            found = Path(os.environ[name]) / "bin" / "nvcc"
            return str(found) if found.is_file() else None
    return shutil.which("nvcc") or next((str(p) for p in [Path("/usr/local/cuda/bin/nvcc")] if p.is_file()), None)


def toolkit(nvcc: str) -> Path:
    """Return the folder of the CUDA toolkit that ``nvcc`` belongs to."""
    dry = subprocess.run([nvcc, "--dryrun", "-c", "none.cu"], capture_output=True, text=True, check=False).stderr
    top = next((line.split("=", 1)[1] for line in dry.splitlines() if line.startswith("#$ TOP=")), "")
    return Path(top or Path(nvcc).resolve().parent.parent).resolve()


def generate_code(architectures: str) -> list[str]:
    """Return nvcc's options for a list like ``80;90;100+PTX``.

    Raises:
        ValueError: An architecture is not a number, with or without ``a`` or ``f``.
    """
    options = []
    for entry in architectures.replace(",", ";").split(";"):
        name = entry.strip().removesuffix("+PTX").replace(".", "").removeprefix("sm_")
        if not name.rstrip("af").isdigit():
            raise ValueError(
                f"EQUITOOLS_CUDA_ARCH has the entry {entry!r}; write for example {DEFAULT_ARCHITECTURES!r}"
            )
        options.append(f"-gencode=arch=compute_{name},code=sm_{name}")
        if entry.strip().endswith("+PTX"):
            options.append(f"-gencode=arch=compute_{name},code=compute_{name}")
    return options


def sources() -> list[Path]:
    """Return the sources of the library, those that take longest first."""
    kernels = sorted(SOURCE.glob("*.cu"), key=lambda p: "convolution" not in p.name)
    return [*kernels, *sorted(SOURCE.glob("*.cpp")), *SHARED]


def is_current(result: Path) -> bool:
    """Return whether an object file is newer than everything that it was made from (the compiler wrote a list)."""
    listed = result.with_suffix(".d")
    if not (result.is_file() and listed.is_file()):
        return False
    names = listed.read_text(encoding="utf-8").replace("\\\n", " ").split(":", 1)[1].split()
    made = result.stat().st_mtime
    return all(Path(n).is_file() and Path(n).stat().st_mtime < made for n in names)


def build(
    target: Path,
    objects: Path,
    torch: Path,
    compiler: list[str],
    architectures: str = "",
    jobs: int = 0,
    verbose: bool = False,
) -> None:
    """Compile and link the library; files that are newer than their sources stay.

    Args:
        target: The library to write.
        objects: Where the object files go.
        torch: The folder of the torch package.
        compiler: The command of the C++ compiler.
        architectures: As in ``EQUITOOLS_CUDA_ARCH``.
        jobs: How many compilers run at a time; 0: as many as there are cores, at most 4.
        verbose: Whether to print how long each source took.

    Raises:
        FileNotFoundError: There is no nvcc, or no static CUDA run time beside it.
        ValueError: The list of architectures is malformed.
        subprocess.CalledProcessError: A compiler failed; the exception holds its messages.
    """
    nvcc = find_nvcc()
    if nvcc is None:
        raise FileNotFoundError("nvcc was not found (CUDA_HOME, the path, /usr/local/cuda)")
    home = toolkit(nvcc)
    code = generate_code(architectures or os.environ.get("EQUITOOLS_CUDA_ARCH", "") or DEFAULT_ARCHITECTURES)
    objects = objects / "-".join(c.rsplit("=", 1)[1] for c in code).replace(",", "_")
    objects.mkdir(parents=True, exist_ok=True)
    include = [f"-I{torch / 'include'}", f"-I{torch / 'include' / 'torch' / 'csrc' / 'api' / 'include'}"]

    def compile_one(source: Path) -> None:
        out = objects / f"{source.name}.o"
        if is_current(out):
            return
        if source.suffix == ".cu":
            host = [f"-Xcompiler={flag}" for flag in HOST_FLAGS[:2]]
            command = [nvcc, "-ccbin", compiler[0], *FLAGS, "--expt-relaxed-constexpr", *QUIET, *host, *code]
        else:
            command = [*compiler, *FLAGS, *HOST_FLAGS, *include]
        begin = time.monotonic()
        run([*command, "-MD", "-MF", str(out.with_suffix(".d")), "-c", str(source), "-o", str(out)])
        if verbose:
            print(f"{source.name}: {time.monotonic() - begin:.0f} s", flush=True)

    with concurrent.futures.ThreadPoolExecutor(max_workers=jobs or min(4, os.cpu_count() or 1)) as pool:
        list(pool.map(compile_one, sources()))
    fresh = target.with_suffix(".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    places = [home / lib / "libcudart_static.a" for lib in ("lib64", "lib", "targets/x86_64-linux/lib")]
    runtime = next((p for p in places if p.is_file()), None)
    if runtime is None:
        raise FileNotFoundError(f"libcudart_static.a was not found below {home}")
    link = [f"-L{torch / 'lib'}", "-Wl,--no-as-needed", "-ltorch_cpu", "-Wl,--as-needed", "-ldl", "-lrt", "-lpthread"]
    hidden = ["-Wl,--exclude-libs,ALL"]
    compiled = [str(objects / f"{p.name}.o") for p in sources()]
    run([*compiler, "-shared", *compiled, str(runtime), *hidden, *link, "-o", str(fresh)])
    fresh.replace(target)  # a process that has the old library open keeps it


def run(command: list[str]) -> None:
    """Run one compiler command; its messages go into the exception."""
    subprocess.run(command, check=True, capture_output=True, text=True)


def main() -> int:
    """Compile for the given architectures, or say that there is no nvcc."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="", help=f"as EQUITOOLS_CUDA_ARCH, default {DEFAULT_ARCHITECTURES}")
    parser.add_argument("--output", type=Path, default=Path("build/cuda/_C_cuda.abi3.so"))
    parser.add_argument("--jobs", type=int, default=0, help="compilers at a time (default: the cores, at most 4)")
    arguments = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        print("cuda-compile: skipped, there is no nvcc here (CUDA_HOME, the path, /usr/local/cuda)")
        return 0
    import torch

    compiler = [os.environ.get("CXX") or "g++"]
    begin = time.monotonic()
    try:
        folder = arguments.output.parent
        build(
            arguments.output,
            folder / "objects",
            Path(torch.__file__).parent,
            compiler,
            arguments.arch,
            arguments.jobs,
            True,
        )
    except subprocess.CalledProcessError as error:
        print(error.stdout, error.stderr, sep="\n", file=sys.stderr)
        return 1
    size = arguments.output.stat().st_size / 2**20
    print(f"cuda-compile: {arguments.output} ({size:.1f} MiB) with {nvcc} in {time.monotonic() - begin:.0f} s; not run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
