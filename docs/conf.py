"""Settings of Sphinx. The contract of the kernels is written from its tables at every build."""

import re
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


def skip_inherited(app, what, name, obj, skip, options):
    """Leave out what scikit-learn documents: its text refers to its own pages."""
    return True if (getattr(obj, "__module__", None) or "").startswith("sklearn") else skip


def escape_types(app, what, name, obj, options, lines):
    """Keep the underscore of types such as "array of shape (n_features_in_,)" from being read as a link."""
    for i, line in enumerate(lines):
        if re.match(r"[\w, ]+ : ", line):
            names, _, types = line.partition(" : ")
            lines[i] = f"{names} : " + re.sub(r"(?<=\w)_(?!\w)", r"\\_", types)


def setup(app):
    """Connect both; the second goes before numpydoc reads the docstring."""
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("autodoc-process-docstring", escape_types, priority=100)
