"""A pytest plugin: the test module named in the environment imports hpcml's classes for scikit-learn's.

The names are replaced in the modules that the test module imports them from, and only while pytest
imports it, so that lists in its decorators see them too. The module is imported once before, so
that everything it needs is loaded and keeps scikit-learn's classes. Outcomes are written as JSON to
the file named in the environment. Tests that reach none of the names, neither themselves nor through
what they name at the module's top, are left out.
"""

import ast
import importlib
import json
import os
import sys
from pathlib import Path

_undo = []
_outcomes = {}
_messages = {}


def _sources_of(module, names):
    """Yield (module, name imported from it, name bound) for the imports at the top of a test module."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name) in names:
                    yield statement.module, alias.name, alias.asname or alias.name


def _named_in(statement):
    """Return all names in a statement; those of arguments too, because they are fixtures."""
    nodes = list(ast.walk(statement))
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.arg for node in nodes if isinstance(node, ast.arg)
    }


def _defined_by(statement):
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return {node.id for node in names if isinstance(node.ctx, ast.Store)}


def _reaching(module, names):
    """Return what a test module defines at its top and reaches one of `names`."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    statements = [(_defined_by(statement), _named_in(statement)) for statement in tree.body]
    reaching, grown = set(names), True
    while grown:
        more = {name for defined, named in statements if named & reaching for name in defined} - reaching
        reaching |= more
        grown = bool(more)
    return reaching


def _load(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def pytest_configure(config):
    """Replace the names just before pytest imports the test module."""
    job = json.loads(os.environ["HPCML_UPSTREAM"])
    module = importlib.import_module(job["module"])
    replaced = set()
    for source, name, bound in _sources_of(module, set(job["replace"])):
        owner = importlib.import_module(source)
        _undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, _load(job["replace"][bound]))
        replaced.add(bound)
    missing = set(job["replace"]) - replaced
    if missing:
        raise RuntimeError(f"{job['module']} imports no {', '.join(sorted(missing))}")
    del sys.modules[job["module"]]


def pytest_collection_modifyitems(config, items):
    """Leave out what the job deselects, one test or every parametrisation, and what reaches no class."""
    job = json.loads(os.environ["HPCML_UPSTREAM"])
    names = set(job["deselect"])
    reaching = _reaching(importlib.import_module(job["module"]), set(job["replace"]))
    out = [
        item
        for item in items
        if names & {item.name, item.originalname} or (item.cls or item.function).__name__ not in reaching
    ]
    items[:] = [item for item in items if item not in out]
    config.hook.pytest_deselected(items=out)


def pytest_collection_finish(session):
    """Give scikit-learn its own classes back: the test module has its copies by now."""
    while _undo:
        owner, name, original = _undo.pop()
        setattr(owner, name, original)


def pytest_runtest_logreport(report):
    """Keep the worst phase of each test."""
    test = report.nodeid.split("::", 1)[1]
    if report.failed:
        _outcomes[test] = "failed"
        _messages[test] = str(report.longrepr)
    elif report.skipped:
        _outcomes.setdefault(test, "skipped")
    elif report.when == "call":
        _outcomes.setdefault(test, "passed")


def pytest_sessionfinish(session):
    """Write the outcomes."""
    report = {"outcomes": _outcomes, "messages": _messages}
    Path(os.environ["HPCML_UPSTREAM_REPORT"]).write_text(json.dumps(report))
