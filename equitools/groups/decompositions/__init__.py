"""Decompositions of matrix groups, batched and differentiable, with the density of the Haar measure in their parts."""

from __future__ import annotations

from equitools.groups.decompositions.big_cell import big_cell_condition, bruhat, lu, lu_log_density
from equitools.groups.decompositions.chart import (
    polar_chart,
    polar_chart_inverse,
    polar_chart_log_density,
    polar_chart_sizes,
)
from equitools.groups.decompositions.dispatch import compose, decompose, kinds, log_density, part_names
from equitools.groups.decompositions.iwasawa import iwasawa, iwasawa_log_density
from equitools.groups.decompositions.jordan_chevalley import jordan_chevalley, multiplicative_jordan_chevalley
from equitools.groups.decompositions.kak import kak, kak_log_density
from equitools.groups.decompositions.levi import affine_levi, levi, semidirect, semidirect_log_density
from equitools.groups.decompositions.polar import polar, polar_log_density
from equitools.groups.decompositions.rank_one import (
    lorentz_iwasawa,
    lorentz_iwasawa_log_density,
    lorentz_kak,
    lorentz_kak_log_density,
    lorentz_polar,
    lorentz_polar_log_density,
    orthogonal_kak,
    orthogonal_kak_log_density,
)
from equitools.groups.decompositions.spectral import spd_log, symmetric_exp
from equitools.groups.decompositions.symplectic import (
    symplectic_iwasawa,
    symplectic_iwasawa_log_density,
    symplectic_kak,
    symplectic_kak_log_density,
    symplectic_polar,
    symplectic_polar_log_density,
)
from equitools.groups.decompositions.unimodular import special_iwasawa, special_kak

__all__ = [
    "affine_levi",
    "big_cell_condition",
    "bruhat",
    "compose",
    "decompose",
    "iwasawa",
    "iwasawa_log_density",
    "jordan_chevalley",
    "kak",
    "kak_log_density",
    "kinds",
    "levi",
    "log_density",
    "lorentz_iwasawa",
    "lorentz_iwasawa_log_density",
    "lorentz_kak",
    "lorentz_kak_log_density",
    "lorentz_polar",
    "lorentz_polar_log_density",
    "lu",
    "lu_log_density",
    "multiplicative_jordan_chevalley",
    "orthogonal_kak",
    "orthogonal_kak_log_density",
    "part_names",
    "polar",
    "polar_chart",
    "polar_chart_inverse",
    "polar_chart_log_density",
    "polar_chart_sizes",
    "polar_log_density",
    "semidirect",
    "semidirect_log_density",
    "spd_log",
    "special_iwasawa",
    "special_kak",
    "symmetric_exp",
    "symplectic_iwasawa",
    "symplectic_iwasawa_log_density",
    "symplectic_kak",
    "symplectic_kak_log_density",
    "symplectic_polar",
    "symplectic_polar_log_density",
]
