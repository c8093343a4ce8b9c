"""Training methods: one published algorithm a file, over the kernels."""
