"""What ASE finds through the entry-point group ``ase.plugins``: the listing of ``ase info`` names our calculator.

The module is apart from `equitools.integrations.ase` because ASE imports it whenever its plugin package is imported,
and that must not import torch.
"""

from __future__ import annotations

from ase._4.plugins.plugin import CalculatorPlugin

__all__ = ["__ase_plugins__"]

__ase_plugins__ = {
    CalculatorPlugin(
        "equitools",
        implementation="equitools.integrations.ase.EquitoolsCalculator",
        citation="equitools: networks that respect symmetry",
    )
}
