"""The kernels on an NVIDIA GPU; optional, loaded when a kernel of this folder is looked up.

`compile` makes machine code of ``ext/cuda``, `driver` says what a device must do, `pycuda_driver` does it,
`transfers` brings arrays there and back, `blocks` runs launches over as many rows at a time as it has memory
for. The other files hold the launches of the kernels.
"""
