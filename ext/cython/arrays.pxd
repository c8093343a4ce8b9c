# Where arrays lie, for C; who asks keeps them.
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t


cdef struct rows_t:
    const void *x  # (n, d), or the stored values of sparse rows
    const int32_t *indices
    const int64_t *indptr  # NULL for dense rows


cdef inline void *at(array) except? NULL:
    """Return where a C-contiguous array begins, NULL for None."""
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return view.buf


cdef inline rows_t rows_at(X) except *:
    """Return where the rows of an ndarray or a CSR lie."""
    cdef rows_t rows
    if PyObject_CheckBuffer(X):
        rows.x, rows.indices, rows.indptr = at(X), NULL, NULL
    else:
        rows.x, rows.indices, rows.indptr = at(X.data), <const int32_t *>at(X.indices), <const int64_t *>at(X.indptr)
    return rows


cdef inline double entries_of(X):
    """Return how many numbers an ndarray or a CSR has stored."""
    return <double>(X.size if PyObject_CheckBuffer(X) else X.data.size)
