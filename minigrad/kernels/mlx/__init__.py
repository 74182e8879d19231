"""The kernels of the MLX backend. `minigrad.kernels.registry` says how one is added.

fused.py      layer_norm, gelu, cross_entropy, attention
conv.py       conv2d, conv2d_input, conv2d_weight
depthwise.py  what they do channel by channel, in forms that can be switched
metal.py      the texts of kernels for Apple's GPU
"""

from minigrad.kernels.mlx import conv, fused
