"""Kernels for GPUs, through CuPy."""
