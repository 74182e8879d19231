"""The kernels of the CPU backend, in numpy. `minigrad.kernels.registry` says how one is added.

attention.py   attention, attention_weights      conv.py       conv2d, conv2d_input, conv2d_weight
layer_norm.py  layer_norm                        depthwise.py  what conv2d and conv_mlp do channel by channel
gelu.py        gelu                              adam.py       the optimiser's arithmetic
conv_mlp.py    the feed-forward network of PVT v2, which `minigrad.models.pvt_v2.conv_mlp` registers
"""

from minigrad.kernels.cpu import adam, attention, conv, gelu, layer_norm
