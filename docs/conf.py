"""Settings of Sphinx. The contract of the kernels is written from its tables at every build."""

from pathlib import Path

import hpcml
from hpcml.kernels import contract

project = "hpcml"
author = "hpcml developers"
copyright = "hpcml developers"
version = release = hpcml.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build", "generated/contract.md"]
html_theme = "alabaster"
html_title = f"hpcml {release}"

myst_heading_anchors = 3
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
default_role = "code"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

GENERATED = Path(__file__).parent / "generated"
GENERATED.mkdir(exist_ok=True)
(GENERATED / "contract.md").write_text(contract.markdown())
