"""The compiled kernels: one extension for each file of ``ext/cython``, under the names of the reference."""
