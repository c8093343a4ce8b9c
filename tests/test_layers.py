"""Imports run one way: estimators, training, kernels, bottom; the search sees the bottom alone."""

import ast
import re
from pathlib import Path

import pytest

import hpcml

PACKAGE = Path(hpcml.__file__).parent
REPOSITORY = PACKAGE.parent

BOTTOM = (
    "activity cancellation config errors machine parts protocol progress counterparts data validation blas "
    "launcher remote_errors"
).split()
ESTIMATORS = "cluster mixture linear_model svm preprocessing tree ensemble decomposition".split()

#: What each layer may import beside itself; `None` is `hpcml/__init__.py`.
ALLOWED = {
    None: {"bottom"},
    "bottom": {None},  # the version
    "kernels": {"bottom"},
    "communicators": {"bottom", "kernels"},
    "training": {"bottom", "kernels", "communicators"},
    "estimators": {"bottom", "kernels", "communicators", "training", None},
    "model_selection": {"bottom", "communicators", None},
    "joblib_backends": {"bottom", None},  # the version
    "pytest_plugin": {None, "scaling"},
    "scaling": {None, "bottom", "estimators", "model_selection", "communicators", "joblib_backends"},
    "farm": {None, "bottom", "communicators", "joblib_backends"},
    "cli": {None, "bottom", "kernels", "estimators", "model_selection", "scaling", "joblib_backends", "farm"},
}


def layer(module):
    """Return the layer of ``hpcml`` or ``hpcml.<first>.<...>``."""
    parts = module.split(".")
    if len(parts) == 1:
        return None
    if parts[1] in BOTTOM:
        return "bottom"
    return "estimators" if parts[1] in ESTIMATORS else parts[1]


def module_name(path):
    parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def only_for_types(tree):
    """Return the nodes under ``if TYPE_CHECKING:``, which no program runs."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found.update(id(child) for statement in node.body for child in ast.walk(statement))
    return found


def imported(path):
    """Yield ``(line, module, names)`` of every import; a name of a module that is a module counts as one."""
    tree = ast.parse(path.read_text())
    skipped = only_for_types(tree)
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, []
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(above + ([base] if base else []))
            for alias in node.names:
                inner = PACKAGE.parent.joinpath(*base.split("."), alias.name)
                if inner.is_dir() or inner.with_suffix(".py").exists():
                    yield node.lineno, f"{base}.{alias.name}", []
                else:
                    yield node.lineno, base, [alias.name]


def may_import(own, module):
    """Return whether a layer may import a module."""
    if module.split(".")[0] != "hpcml":
        return True
    return layer(module) == own or layer(module) in ALLOWED[own]


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_one_way(path):
    own = layer(module_name(path))
    assert own in ALLOWED, f"{path.name} lies in no layer of the architecture"
    for line, module, _ in imported(path):
        assert may_import(own, module), f"{path}:{line}: {own} may not import {module}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_compiled_modules_are_only_looked_up(path):
    for line, module, _ in imported(path):
        folders = ("hpcml.kernels.cython", "hpcml.kernels.cuda", "hpcml.kernels.numba")
        inside = module_name(path).startswith(folders)
        assert inside or not module.startswith(folders), f"{path}:{line}: use hpcml.kernels.lookup"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_private_names_of_other_libraries(path):
    for line, module, names in imported(path):
        if module.split(".")[0] in ("sklearn", "joblib", "pyspark", "scipy", "pandas"):
            private = [part for part in module.split(".") + names if part.startswith("_")]
            assert not private, f"{path}:{line}: {module} {names} is private"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 600


def test_extension_sources_import_only_below():
    sources = sorted((REPOSITORY / "ext" / "cython").glob("*.pyx"))
    if not sources:
        pytest.skip("the sources of the extensions are not beside the package; run the tests in a checkout")
    for path in sources:
        for module in re.findall(r"^\s*(?:from|c?import)\s+(hpcml[\w.]*)", path.read_text(), re.MULTILINE):
            assert layer(module) in ("bottom", "kernels"), f"{path.name} imports {module}"


def test_rule_catches_an_upward_import():
    found = {module for _, module, _ in imported(PACKAGE / "kernels" / "registry.py")}
    assert {"hpcml.config", "hpcml.errors", "hpcml.kernels.contract"} <= found
    assert may_import("kernels", "numpy") and may_import("kernels", "hpcml.config")
    assert not may_import("kernels", "hpcml.training.trees")
    assert not may_import("model_selection", "hpcml.ensemble.forest")
    assert not may_import("training", "hpcml.tree")
    assert not may_import("bottom", "hpcml.kernels.registry")
