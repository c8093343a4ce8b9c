"""The readable NumPy version of every kernel: its definition."""
