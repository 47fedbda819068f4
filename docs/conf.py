"""Sphinx configuration: MyST pages, Furo, the reference drawn from the docstrings.

The build needs no network: names of the standard library are left unlinked.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for ``hooks``

project = "balancers"
author = "The balancers developers"
copyright = f"2026, {author}"
version = release = importlib.metadata.version("balancers")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "hooks",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"balancers {release}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Guarantees", "Use when", "Avoid when", "Cost", "Source"]

nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(numpy|hypothesis)\..*")]
