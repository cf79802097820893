"""Kernels for NVIDIA GPUs, through CuPy."""
