"""``import hpcml`` is cheap and loads nothing optional; every public name resolves."""

import subprocess
import sys

import pytest

import hpcml

OPTIONAL = (
    "numba llvmlite polars pyarrow matplotlib mpi4py pyspark joblibspark pycuda cupy lightgbm xgboost "
    "daal4py sklearnex IPython Cython pytest"
).split()

#: Modules of hpcml that ``import hpcml`` may load.
ALLOWED = {"hpcml", "hpcml.config", "hpcml.machine", "hpcml.launcher"}


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_optional_is_loaded():
    loaded = run("import sys, hpcml; print(' '.join({name.split('.')[0] for name in sys.modules}))").split()
    assert "hpcml" in loaded
    assert not set(OPTIONAL) & set(loaded)


def test_import_changes_no_environment_variable():
    code = "import os; before = dict(os.environ); import hpcml; print(before == dict(os.environ))"
    assert run(code) == "True"


def test_import_costs_little_more_than_scikit_learn():
    code = "import sys, sklearn; old = set(sys.modules); import hpcml; print(*set(sys.modules) - old)"
    new = set(run(code).split())
    assert {name for name in new if name.split(".")[0] not in sys.stdlib_module_names} <= ALLOWED


@pytest.mark.parametrize("name", hpcml.__all__)
def test_public_names_resolve(name):
    assert getattr(hpcml, name) is not None
    assert name in dir(hpcml)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'hpcml' has no attribute 'forrest'"):
        hpcml.forrest
