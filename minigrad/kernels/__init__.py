"""Kernels: what a backend computes in one piece where the definition takes several operations."""
