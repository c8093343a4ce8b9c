"""What hpcml uses of PyCUDA, in Python on the driver of libcuda.cpp: for machines that have no PyCUDA."""
