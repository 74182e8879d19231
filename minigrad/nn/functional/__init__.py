"""The functions behind the layers, under PyTorch's names and with its signatures.

activations.py  gelu, silu, …                      padding.py    pad
norms.py        layer_norm, batch_norm, …          attention.py  scaled_dot_product_attention
noise.py        dropout, drop_path
losses.py       cross_entropy, mse_loss, …

Convolution, pooling, softmax and the like are those of `minigrad.functions`.
"""

from minigrad.functions import (
    adaptive_avg_pool2d,
    avg_pool2d,
    conv1d,
    conv2d,
    conv_transpose2d,
    elu,
    embedding,
    gelu,
    interpolate,
    layer_norm,
    leaky_relu,
    linear,
    log_softmax,
    max_pool2d,
    one_hot,
    relu,
    sigmoid,
    softmax,
    softplus,
    tanh,
)
from minigrad.functions.pool import unfold
from minigrad.nn.functional.activations import (
    elu_,
    leaky_relu_,
    logsigmoid,
    relu_,
    selu,
    selu_,
    silu,
)
from minigrad.nn.functional.attention import scaled_dot_product_attention
from minigrad.nn.functional.losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from minigrad.nn.functional.noise import drop_path, dropout
from minigrad.nn.functional.norms import batch_norm, group_norm, normalize
from minigrad.nn.functional.padding import pad

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "binary_cross_entropy_with_logits", "conv1d", "conv2d",
    "conv_mlp", "conv_transpose2d", "cross_entropy", "drop_path", "dropout", "elu", "elu_", "embedding", "gelu",
    "group_norm", "interpolate", "l1_loss", "layer_norm", "leaky_relu", "leaky_relu_", "linear", "log_softmax",
    "logsigmoid", "max_pool2d", "mse_loss", "nll_loss", "normalize", "one_hot", "pad", "relu", "relu_",
    "scaled_dot_product_attention", "selu", "selu_", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softplus",
    "tanh", "unfold",
]  # fmt: skip


__moved__: dict = {}  # what version 0.1 had here and stands above now; minigrad/__init__.py says where


def __getattr__(name: str) -> object:
    """`conv_mlp` is PVT's and stands in the model's room; version 0.1 had it here."""
    if name not in __moved__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return __moved__[name]()


def __dir__() -> list[str]:
    return __all__
