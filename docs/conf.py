"""Sphinx builds the documentation from this: `make docs`."""

import beewire

project = "Beewire"
copyright = "the Beewire authors"  # noqa: A001 - Sphinx names it
version = release = beewire.__version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"Beewire {release}"
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3
nitpicky = True
