"""Two-dimensional incompressible flow on the unit torus, in vorticity form, by a pseudo-spectral method.

    ∂ω/∂t + u·∇ω = ν Δω + f,    u = (∂ψ/∂y, −∂ψ/∂x),    −Δψ = ω.

Fields are ``[..., S, S]``; pixel (i, j) is the point (i/S, j/S), and x is the first axis. All quantities are
dimensionless. The default data are those of the symmetric-forcing task of G-FNO: initial vorticity from a Gaussian
random field, f = 0.1 (cos 4πx + cos 4πy), ν = 10⁻⁴, a frame for each unit of time.

Symmetries. A turn by a quarter about pixel (0, 0) takes solutions to solutions, ω(x) → ω(g⁻¹x), as long as the forcing
is turned along. Vorticity is a pseudoscalar: under a reflection it also changes its sign, ω(x) → −ω(g⁻¹x), and so must
the forcing, f(x) → −f(g⁻¹x). The symmetric forcing is even under reflections, hence these alone are no symmetry of the
forced flow; followed by a shift by (1/4, 1/4), which takes f to −f, they are.

Sources: Li et al., *Fourier neural operator for parametric partial differential equations*, ICLR 2021,
arXiv:2010.08895 (equation, random field); Helwig et al., ICML 2023, arXiv:2306.05697, and its public code (forcing,
viscosity, times).
"""

from __future__ import annotations

import itertools
import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equitools._atomic import atomic_path
from equitools.errors import ConfigError, DataError, ShapeError

__all__ = ["gaussian_random_field", "solve_navier_stokes", "symmetric_forcing", "symmetric_navier_stokes", "velocity"]

#: Fields that are integrated together: their arrays stay in the cache.
CHUNK = 16


def gaussian_random_field(
    number: int,
    size: int,
    *,
    alpha: float = 2.5,
    tau: float = 7.0,
    sigma: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw periodic Gaussian fields of mean zero with the covariance σ² (−Δ + τ²)^(−α).

    Args:
        number: Of fields.
        size: Pixels along a side.
        alpha: How fast the spectrum decays.
        tau: Wave number above which it does.
        sigma: Scale; ``None``: τ^(α − 1), as in the published code.
        generator: Of the random numbers.

    Returns:
        ``[number, size, size]`` float64.

    Raises:
        ConfigError: A size or number that cannot be.

    Properties:
        covariance: the mean square is the sum of the eigenvalues without that of the mean field.
        first_fields: fewer fields are the first of more.
    """
    if number < 0 or size < 1:
        raise ConfigError(f"Fields need a number ≥ 0 and a size ≥ 1, not {number} and {size}.")
    if not number:
        return torch.empty(0, size, size, dtype=torch.float64)
    scale = tau ** (alpha - 1) if sigma is None else sigma
    root = math.sqrt(2) * scale * (_laplacian(size) + tau**2) ** (-alpha / 2)
    root[0, 0] = 0.0
    # one after the other: the stream of random numbers does not depend on how many there will be
    noise = torch.empty(number, size, size, dtype=torch.complex128)
    for k in range(number):
        noise[k] = torch.randn(size, size, dtype=torch.complex128, generator=generator)
    return torch.fft.ifft2(root * noise, norm="forward").real


def symmetric_forcing(size: int, *, period: int = 4, strength: float = 0.1) -> Tensor:
    """Return strength · (cos(period π x) + cos(period π y)) at the pixels, ``[size, size]`` float64.

    Args:
        size: Pixels along a side.
        period: An even number; half of it is the number of waves along a side.
        strength: Amplitude.

    Raises:
        ConfigError: An odd period is not periodic on the torus; or the waves do not fit on the grid.
    """
    if period % 2 or not 0 <= period < size:
        raise ConfigError(
            f"The period must be even (half of it is the number of waves on the torus) and below the {size} pixels of "
            f"a side, not {period}."
        )
    x = torch.arange(size, dtype=torch.float64) / size
    wave = torch.cos(period * math.pi * x)
    return strength * (wave[:, None] + wave)


def velocity(vorticity: Tensor) -> Tensor:
    """Return the velocity of a vorticity field.

    Args:
        vorticity: ``[..., S, S]``; its mean has no effect.

    Returns:
        ``[..., 2, S, S]``: components along the first and the second axis.

    Properties:
        curl: ∂u_y/∂x − ∂u_x/∂y is the vorticity without its mean (below the highest wave number), and ∇·u = 0.
    """
    size = _check_field(vorticity)
    if not vorticity.numel():
        return vorticity.new_empty(*vorticity.shape[:-2], 2, size, size)
    spectrum = torch.fft.rfft2(vorticity)
    stream = spectrum / _inverse_safe(_half(_laplacian(size)).to(vorticity.device)).to(vorticity.dtype)
    kx, ky = (k.to(spectrum) for k in _derivatives(size))
    return torch.fft.irfft2(torch.stack([ky * stream, -kx * stream], -3), s=(size, size))


def solve_navier_stokes(
    vorticity: Tensor,
    times: Sequence[float],
    forcing: Tensor | None = None,
    *,
    viscosity: float = 1e-4,
    step: float = 1e-2,
    scheme: str = "heun",
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Integrate the vorticity equation.

    Wave numbers of a third of the side and more are left out of the state, so that products do not alias (the 2/3
    rule). Viscosity is treated by Crank–Nicolson.

    Args:
        vorticity: At time 0, ``[..., S, S]``.
        times: At which the flow is returned, ascending, multiples of ``step``.
        forcing: ``[S, S]`` or of the shape of ``vorticity``; ``None``: none. Constant in time.
        viscosity: ν ≥ 0.
        step: Of time.
        scheme: ``"heun"``: advection by Heun's method, of second order in all. ``"euler"``: forward Euler, of first
            order, as the published code has it with steps of 10⁻⁴.
        progress: Called with the time that has been reached.

    Returns:
        ``[..., T, S, S]`` in the dtype of ``vorticity``.

    Raises:
        ShapeError: The field is not square, or the forcing does not fit.
        ConfigError: Times that are no ascending multiples of the step; an unknown scheme; a negative viscosity.
        DataError: The solution blew up: the step is too long.

    Properties:
        taylor_green: a field of one wave length decays as exp(−4π²k²νt), to the order of the scheme.
        equivariance: quarter turns about pixel (0, 0) of field and forcing turn the solution; reflections too, with
            the sign of a pseudoscalar in all three; shifts by pixels shift it.
        glide: with `symmetric_forcing`, a reflection with its sign and then a shift by a quarter of the side along both
            axes is a symmetry, though neither part is.
        second_order: halving the step divides the error of ``"heun"`` by four.
        conservation: without viscosity and forcing, the mean and, to the scheme's order, energy and enstrophy stay.
    """
    size = _check_field(vorticity)
    moments = _steps(times, step)
    if viscosity < 0:
        raise ConfigError(f"The viscosity must not be negative, it is {viscosity}.")
    if scheme not in {"heun", "euler"}:
        raise ConfigError(f"Schemes are 'heun' and 'euler', not {scheme!r}.")
    if forcing is not None and forcing.shape not in {vorticity.shape, vorticity.shape[-2:]}:
        raise ShapeError(f"The forcing must be {[size, size]} or {list(vorticity.shape)}, it is {list(forcing.shape)}.")
    if not vorticity.numel() or not moments:  # libraries of transforms refuse empty batches
        return vorticity.new_empty(*vorticity.shape[:-2], len(moments), size, size)
    lap = _half(_laplacian(size)).to(vorticity)
    resolved = _resolved(size).to(vorticity.device)
    waves = torch.fft.rfft2(vorticity) * resolved
    push = 0.0 if forcing is None else torch.fft.rfft2(forcing.to(vorticity)) * resolved
    advection = _Advection(size, lap, resolved)
    keep, divide = 1 - 0.5 * step * viscosity * lap, 1 + 0.5 * step * viscosity * lap
    frames, wanted = [], set(moments)
    for k in range(1, moments[-1] + 1):
        if k - 1 in wanted:
            frames.append(torch.fft.irfft2(waves, s=(size, size)))
        change = advection(waves) + push
        after = (keep * waves + step * change) / divide
        if scheme == "heun":
            after = (keep * waves + 0.5 * step * (change + advection(after) + push)) / divide
        waves = after
        if progress is not None and k % 100 == 0:
            progress(k * step)
    frames.append(torch.fft.irfft2(waves, s=(size, size)))
    if not bool(torch.isfinite(frames[-1]).all()):
        raise DataError(f"The flow blew up with time steps of {step}: take shorter ones.")
    return torch.stack(frames, -3)


def symmetric_navier_stokes(
    sizes: Mapping[str, int],
    *,
    seed: int = 0,
    resolution: int = 64,
    solver_resolution: int | None = None,
    frames: int = 20,
    first: float = 0.25,
    every: float = 1.0,
    viscosity: float = 1e-4,
    period: int = 4,
    step: float = 1e-2,
    dtype: torch.dtype = torch.float32,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Make trajectories of the symmetric-forcing task.

    Args:
        sizes: How many trajectories of each part.
        seed: Of the random numbers; each part has a stream of its own.
        resolution: Pixels along a side of what is returned.
        solver_resolution: Of what is solved, a multiple of ``resolution``, of which every k-th pixel is taken
            (the published set solves at 256 and returns 64); ``None``: the same.
        frames: Of each trajectory.
        first: Time of the first one; 0.25 in the published files.
        every: Time between frames.
        viscosity: ν.
        period: Of the forcing.
        step: Of time.
        dtype: Of what is returned. The simulation is in double precision.
        cache: An npz file that is read where it holds the same data, and written otherwise. ``None``: no file.
        progress: Called with the name of the part, the trajectories done and their number.

    Returns:
        ``[N, frames, resolution, resolution]`` by name of the part.

    Raises:
        ConfigError: Numbers that cannot be.
        DataError: A cache file that is broken, or a flow that blew up.

    Properties:
        deterministic: the same arguments give the same numbers, whatever else draws random ones.
        first_trajectories: fewer trajectories are the first of more.
    """
    solved = resolution if solver_resolution is None else solver_resolution
    if resolution < 1 or solved % resolution:
        raise ConfigError(f"The solver's resolution {solved} must be a multiple of the resolution {resolution}.")
    if frames < 1 or any(number < 0 for number in sizes.values()):
        raise ConfigError(
            f"At least one frame and no negative number of trajectories; given {frames} and {dict(sizes)}."
        )
    made_by = repr((list(sizes.items()), seed, resolution, solved, frames, first, every, viscosity, period, step))
    if cache is not None and (known := _read(Path(cache), made_by, sizes)) is not None:
        return {name: torch.from_numpy(array).to(dtype) for name, array in known.items()}
    times = [first + k * every for k in range(frames)]
    forcing, stride = symmetric_forcing(solved, period=period), solved // resolution
    parts = {}
    for index, (name, number) in enumerate(sizes.items()):
        generator = torch.Generator().manual_seed(1_000_003 * seed + index)
        start = gaussian_random_field(number, solved, generator=generator)
        part = torch.empty(number, frames, resolution, resolution, dtype=torch.float64)
        for begin in range(0, number, CHUNK):
            rows = slice(begin, min(begin + CHUNK, number))
            flow = solve_navier_stokes(start[rows], times, forcing, viscosity=viscosity, step=step)
            part[rows] = flow[..., ::stride, ::stride]
            if progress is not None:
                progress(name, rows.stop, number)
        parts[name] = part
    if cache is not None:
        with atomic_path(Path(cache).with_suffix(".npz")) as temporary:
            arrays: dict[str, Any] = {f"part.{name}": part.numpy() for name, part in parts.items()}
            np.savez(temporary, made_by=np.array(made_by), **arrays)
    return {name: part.to(dtype) for name, part in parts.items()}


class _Advection:
    """−u·∇ω of resolved waves, dealiased."""

    def __init__(self, size: int, lap: Tensor, resolved: Tensor) -> None:
        self.size = size
        kx, ky = (k.to(device=lap.device, dtype=_spectral_dtype(lap)) for k in _derivatives(size))
        over = 1 / _inverse_safe(lap)
        # of ω's spectrum: u_x, u_y, ∂ω/∂x, ∂ω/∂y
        self.factors = torch.stack([ky * over, -kx * over, kx, ky])
        self.minus = -resolved.to(lap.dtype)

    def __call__(self, waves: Tensor) -> Tensor:
        """Return the spectrum of the change of vorticity by advection."""
        factors = self.factors.reshape(4, *[1] * (waves.ndim - 2), *waves.shape[-2:])
        ux, uy, wx, wy = torch.fft.irfft2(factors * waves, s=(self.size, self.size))
        return torch.fft.rfft2(ux * wx + uy * wy) * self.minus


def _spectral_dtype(real: Tensor) -> torch.dtype:
    """Return the complex dtype of spectra of such fields."""
    return torch.complex64 if real.dtype == torch.float32 else torch.complex128


def _wave_numbers(size: int) -> Tensor:
    return torch.fft.fftfreq(size, 1 / size, dtype=torch.float64).round()


def _laplacian(size: int) -> Tensor:
    """−Δ of each wave, ``[S, S]``."""
    k = _wave_numbers(size)
    return 4 * math.pi**2 * (k[:, None] ** 2 + k**2)


def _half(full: Tensor) -> Tensor:
    return full[..., : full.shape[-1] // 2 + 1]


def _derivatives(size: int) -> tuple[Tensor, Tensor]:
    """∂/∂x and ∂/∂y of each wave of a real transform; that of the highest one of an even side is zero, for symmetry."""
    k = _wave_numbers(size)
    if size % 2 == 0:
        k[size // 2] = 0.0
    wave = 2j * math.pi * k
    return wave[:, None].expand(size, size // 2 + 1), _half(wave[None]).expand(size, -1)


def _resolved(size: int) -> Tensor:
    """Waves that are kept: below a third of the side, where a product of two does not alias onto a third."""
    low = 3 * _wave_numbers(size).abs() < size
    return _half(low[:, None] & low)


def _inverse_safe(lap: Tensor) -> Tensor:
    return torch.where(lap > 0, lap, 1.0)


def _check_field(field: Tensor) -> int:
    if field.ndim < 2 or field.shape[-1] != field.shape[-2] or not field.shape[-1]:
        raise ShapeError(f"A vorticity field is square, [..., S, S]; given {list(field.shape)}.")
    if field.dtype not in {torch.float32, torch.float64}:
        raise ShapeError(f"A vorticity field is float32 or float64, not {field.dtype}.")
    return field.shape[-1]


def _steps(times: Sequence[float], step: float) -> list[int]:
    """The number of steps to each time."""
    if not step > 0:
        raise ConfigError(f"The time step must be positive, it is {step}.")
    moments = [round(t / step) for t in times]
    if any(abs(m * step - t) > 1e-9 * max(1.0, abs(t)) for m, t in zip(moments, times, strict=True)):
        raise ConfigError(f"Times must be multiples of the step {step}; given {list(times)}.")
    if any(m < 0 for m in moments) or any(b <= a for a, b in itertools.pairwise(moments)):
        raise ConfigError(f"Times must ascend from 0 on; given {list(times)}.")
    return moments


def _read(path: Path, made_by: str, sizes: Mapping[str, int]) -> dict[str, np.ndarray] | None:
    """Read a file of data; None where there is none, or where it was made with other arguments."""
    path = path.with_suffix(".npz")
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "made_by" not in archive.files or str(archive["made_by"]) != made_by:
                return None
            return {name: archive[f"part.{name}"] for name in sizes}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read: {error}. Remove it, and it is made again.") from error
