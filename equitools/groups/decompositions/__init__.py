"""Decompositions of matrix groups, batched and differentiable, with the density of the Haar measure in their parts."""

from __future__ import annotations

from equitools.groups.decompositions.dispatch import compose, decompose, kinds
from equitools.groups.decompositions.iwasawa import iwasawa, iwasawa_log_density
from equitools.groups.decompositions.kak import kak, kak_log_density
from equitools.groups.decompositions.polar import polar, polar_log_density
from equitools.groups.decompositions.spectral import spd_log, symmetric_exp

__all__ = [
    "compose",
    "decompose",
    "iwasawa",
    "iwasawa_log_density",
    "kak",
    "kak_log_density",
    "kinds",
    "polar",
    "polar_log_density",
    "spd_log",
    "symmetric_exp",
]
