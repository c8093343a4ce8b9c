"""What tests of a farm do on rank 0, in a module that loads little: every rank imports it."""

import contextlib
import os
import time

import joblib
from joblib import Parallel, delayed

import hpcml.farm
from hpcml.joblib_backends import register_mpi


def caught(function, *args, **kwargs):
    """Return the exception that a call raises."""
    try:
        function(*args, **kwargs)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@contextlib.contextmanager
def farm(**options):
    hpcml.farm.start()
    register_mpi()
    with joblib.parallel_backend("mpi", **options):
        yield


def calls(function, arguments, **options):
    return Parallel(**options)(delayed(function)(*each) for each in arguments)


def pid(*_):
    time.sleep(0.02)
    return os.getpid()


def slow(i, seconds=0.05):
    time.sleep(seconds)
    return i
