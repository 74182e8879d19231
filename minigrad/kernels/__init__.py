"""Kernels: what one backend does in an operation's place. `registry.py` says how one is added.

registry.py  (operation, backend) → kernel      cpu/  in numpy
fused.py     operations made for kernels        mlx/  for MLX, and in Metal
"""

from minigrad.kernels.registry import KERNELS, Kernel, find, kernel

__all__ = ["KERNELS", "Kernel", "find", "kernel"]
