"""How Sphinx renders these pages. `make docs` treats every warning as an error."""

from __future__ import annotations

from equitools import __version__

project = "equitools"
author = "The equitools developers"
copyright = "2026, the equitools developers"
release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "generated"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Properties", "params_style"), "Units"]
# Third-party documentation lies on the network; the pages build without it.
nitpicky = False
suppress_warnings = ["autosummary"]

html_theme = "furo"
html_title = f"equitools {release}"
html_static_path: list[str] = []
