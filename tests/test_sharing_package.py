"""The worked example of the protocol: a package of its own, on every backend of joblib that is here."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hpcml

REPOSITORY = Path(hpcml.__file__).parents[1]
PACKAGE = REPOSITORY / "examples" / "sharing_package"
PRINTED = """\
planned: 72 fits asked for, 72 searches; 6 fits, 6 searches done
done:    72 fits asked for, 72 searches; 6 fits, 6 searches done
best:    {'metric': 'euclidean', 'n_neighbors': 20, 'power': 2.0} R² 0.4562
scaled:  72 fits asked for, 72 StandardScaler, 72 searches; 6 fits, 3 StandardScaler, 6 searches done
"""

pytestmark = pytest.mark.skipif(not PACKAGE.exists(), reason="the examples are not beside the package")


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky", "multiprocessing"])
def test_scores_are_those_of_separate_fits(backend):
    paths = [str(PACKAGE), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONIOENCODING": "utf-8",
    }
    ended = subprocess.run(
        [sys.executable, str(PACKAGE / "demo.py"), backend],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == PRINTED


def test_it_imports_public_names_only():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                assert not any(name.startswith("_") for name in names), path
                if names[0] == "hpcml":
                    assert node.module in ("hpcml.protocol", "hpcml.model_selection"), path
