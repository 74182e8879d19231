"""Kernels of the MLX backend."""
