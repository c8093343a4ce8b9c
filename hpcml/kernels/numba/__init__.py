"""The kernels compiled by numba; optional, loaded when a kernel of this folder is looked up."""
