# What compiled kernels need to be stopped by signals and by other threads.
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport int32_t

from arrays cimport at


cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept


cdef extern from "signals.h" nogil:
    ctypedef struct signals_t:
        int raised, stopped
    ctypedef int (*look_function)() noexcept nogil
    signals_t signals_for(look_function look, const int32_t *flag)


cdef extern from *:
    """
    static PyObject *hpcml_heeded_here; /* of hpcml.cancellation */
    """
    PyObject *hpcml_heeded_here


cdef inline int _look() noexcept with gil:
    """Let the handlers of signals run; return whether one raised: the exception is then set in this thread."""
    return PyErr_CheckSignals() != 0


cdef inline signals_t signals_here() except *:
    """Return what may stop the kernel that this thread is about to run."""
    global hpcml_heeded_here
    cdef look_function look = NULL
    if hpcml_heeded_here == NULL:
        from hpcml.cancellation import heeded_here  # here, because a .pxd runs no statements of its own

        Py_INCREF(heeded_here)
        hpcml_heeded_here = <PyObject *>heeded_here
    handles, flag = (<object>hpcml_heeded_here)()
    if handles:
        look = _look
    return signals_for(look, <const int32_t *>at(flag))


cdef inline int check(int failed, const signals_t *signals, str what) except -1:
    """Raise if a kernel was stopped or if there was no memory for something."""
    if signals.raised:
        return -1  # what the handler raised
    if signals.stopped:
        from hpcml.cancellation import Cancelled

        raise Cancelled
    if failed:
        raise MemoryError(f"no memory for {what}")
    return 0
