"""The sources of the CUDA kernels compiled for the CPU, and a device that runs them."""
