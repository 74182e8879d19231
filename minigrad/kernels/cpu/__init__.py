"""Kernels of the CPU backend, in numpy."""
