"""The table of operations, second part: images, normalisation, attention, losses. See `op_table.py`."""

import numpy as np
import op_oracles as o
from op_table import D, I, P, Q, U, V, X, bare, form, row

import minigrad as mg
from minigrad.nn import functional as F

# One line a row:
# fmt: off

# --- convolution ------------------------------------------------------------------------------------------------------
CONV = [  # image, weight, options
    ((2, 3, 5, 6), (4, 3, 3, 3), {}), ((2, 3, 5, 6), (4, 3, 3, 2), {"stride": 2, "padding": 1}),
    ((1, 2, 7, 6), (3, 2, 2, 3), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
    ((2, 4, 5, 5), (6, 2, 3, 3), {"groups": 2, "padding": 1}), ((2, 3, 5, 5), (6, 1, 3, 3), {"groups": 3}),
    ((2, 4, 6, 6), (4, 2, 3, 3), {"groups": 2, "stride": 2, "dilation": 2, "padding": 2}),
    ((2, 4, 5, 6), (4, 1, 3, 3), {"groups": 4, "padding": 1}),  # depthwise
    ((2, 4, 5, 6), (4, 1, 3, 3), {"groups": 4, "padding": 2, "stride": 2, "dilation": 2}),
    ((2, 3, 4, 4), (5, 3, 1, 1), {}), ((2, 3, 8, 8), (5, 3, 4, 4), {"stride": 4}),
    ((1, 2, 9, 9), (3, 2, 7, 7), {"stride": 4, "padding": 3}), ((2, 3, 6, 5), (4, 3, 3, 3), {"stride": 3}),  # rows left over
    ((1, 3, 1, 1), (4, 3, 1, 1), {}), ((1, 3, 1, 1), (4, 3, 3, 3), {"padding": 1}),  # one pixel
    ((2, 4, 1, 1), (4, 1, 3, 3), {"padding": 1, "groups": 4}), ((1, 1, 4, 4), (1, 1, 3, 3), {}),
    ((0, 3, 5, 5), (4, 3, 3, 3), {}), ((0, 4, 5, 5), (4, 1, 3, 3), {"groups": 4, "padding": 1}),
    ((3, 5, 6), (4, 3, 3, 3), {"padding": 1}), ((2, 3, 5, 6), (4, 3, 3, 2), {"padding": "same"}),
    ((2, 3, 5, 6), (4, 3, 3, 2), {"padding": "valid"}),
]
for image, weight, options in CONV:
    row("F.conv2d", X(*image), X(*weight), X(weight[0]), o.conv2d, **options)
row("F.conv2d", X(2, 3, 5, 6), X(4, 3, 3, 3), o.conv2d)
row("F.conv1d", X(2, 4, 7), X(6, 2, 3), X(6), o.conv1d, stride=2, padding=1, groups=2)
row("F.unfold", X(2, 3, 5, 6), (2, 3), o.unfold)
TRANSPOSED = [
    ((2, 3, 4, 5), (3, 4, 3, 3), {}), ((2, 3, 4, 3), (3, 2, 3, 2), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((1, 4, 3, 3), (4, 3, 3, 3), {"groups": 2, "dilation": 2, "padding": (1, 2)}), ((2, 4, 3, 3), (4, 1, 2, 2), {"groups": 4, "stride": 2}),
    ((1, 3, 1, 1), (3, 2, 2, 2), {"stride": 2}), ((3, 4, 5), (3, 4, 3, 3), {}), ((0, 3, 4, 4), (3, 2, 3, 3), {}),
    ((2, 2, 3, 4), (2, 3, 3, 2), {"stride": 2, "dilation": 4, "output_padding": (2, 3), "padding": 1}),  # more rows than strides reach
]
for image, weight, options in TRANSPOSED:
    out = X(weight[1] * int(options.get("groups", 1)))  # type: ignore[call-overload]
    row("F.conv_transpose2d", X(*image), X(*weight), out, o.conv_transpose2d, **options)

for groups, each in [(1, 2), (2, 2), (4, 1)]:
    geometry = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": groups}
    bare("conv2d_input", X(2, 4, 3, 2), X(4, each, 3, 2), o.conv2d_input, size=(5, 4), **geometry)
    bare("conv2d_weight", X(2, 4, 3, 2), X(2, each * groups, 5, 4), o.conv2d_weight, kernel=(3, 2), **geometry)

# --- pooling and resizing ---------------------------------------------------------------------------------------------
for shape, kernel, options in [
    ((2, 3, 6, 6), 2, {}), ((2, 3, 7, 5), 3, {"stride": 2}), ((1, 2, 6, 7), (2, 3), {"stride": (2, 1), "padding": (1, 1)}),
    ((1, 2, 6, 7), 3, {"stride": 2, "padding": 1}), ((1, 2, 6, 7), 3, {"stride": 2, "ceil_mode": True}), ((3, 4, 4), 2, {}),
    ((1, 2, 6, 8), 3, {"stride": 3, "padding": 1, "ceil_mode": True}), ((2, 3, 1, 1), 1, {}), ((0, 3, 4, 4), 2, {}), ((1, 2, 5, 5), 2, {}),
]:
    row("F.avg_pool2d", X(*shape), kernel, o.avg_pool2d, **options)
    row("F.max_pool2d", D(*shape), kernel, o.max_pool2d, **options)
    if "padding" in options or "ceil_mode" in options:
        row("F.avg_pool2d", X(*shape), kernel, o.avg_pool2d, count_include_pad=False, **options)
row("F.avg_pool2d", X(1, 2, 5, 5), 3, o.avg_pool2d, padding=1, divisor_override=4)
row("F.max_pool2d", D(1, 2, 7, 7), 3, o.max_pool2d, dilation=2, padding=1)
row("F.max_pool2d", D(2, 3, 6, 5), 2, o.max_pool2d_with_positions, return_indices=True)
for size, new in [((5, 6), (2, 3)), ((5, 7), 1), ((7, 7), 7), ((3, 2), 7), ((4, 3), (None, 5)), ((1, 1), 7), ((5, 5), 3)]:
    row("F.adaptive_avg_pool2d", X(2, 3, *size), new, o.adaptive_avg_pool2d)
row("F.adaptive_avg_pool2d", X(3, 5, 6), 2, o.adaptive_avg_pool2d)
row("F.adaptive_avg_pool2d", X(0, 3, 5, 6), 2, o.adaptive_avg_pool2d)
for to in [{"size": (7, 5)}, {"size": (2, 3)}, {"scale_factor": 2}, {"scale_factor": (1.5, 0.7)}, {"size": (1, 1)}]:
    row("F.interpolate", X(2, 3, 4, 5), o.interpolate, **to)
    row("F.interpolate", X(2, 3, 4, 5), o.interpolate, mode="bilinear", **to)
row("F.interpolate", X(2, 3, 4, 5), o.interpolate, size=(7, 3), mode="bilinear", align_corners=True)
row("F.interpolate", X(1, 2, 1, 1), o.interpolate, size=(3, 3), mode="bilinear")
row("F.interpolate", X(0, 2, 4, 4), o.interpolate, size=(3, 3), mode="bilinear")

geometry = {"kernel": (3, 2), "stride": (2, 1), "padding": ((1, 1), (0, 0))}
bare("window_sum_input", X(1, 2, 3, 3), o.window_sum_input, size=(5, 4), **geometry)

# --- normalisation ----------------------------------------------------------------------------------------------------
for shape in [(3, 4), (2, 3, 5), (1, 1, 4), (0, 4)]:
    row("F.layer_norm", X(*shape), shape[-1:], X(shape[-1]), X(shape[-1]), o.layer_norm)
    row("F.layer_norm", X(*shape), shape[-1:], o.layer_norm)
row("F.layer_norm", X(3, 0), 0, lambda x, shape: x)
row("F.layer_norm", X(2, 3, 4), (3, 4), X(3, 4), X(3, 4), o.layer_norm, eps=1e-3)
row("F.layer_norm", X(2, 3, 4), (4,), X(4), None, o.layer_norm)
row("F.layer_norm", X(2, 3, 4), (4,), None, X(4), o.layer_norm)
row("F.layer_norm", X(2, 3, 4, 4), (4,), X(4), X(4), o.layer_norm)
for shape, groups in [((2, 4, 3, 3), 2), ((2, 6), 2), ((1, 4, 5), 1), ((2, 4, 1, 4), 4)]:
    row("F.group_norm", X(*shape), groups, X(shape[1]), X(shape[1]), o.group_norm)
row("F.group_norm", X(2, 4, 3, 3), 2, o.group_norm, eps=1e-2)
row("F.group_norm", X(0, 4, 3), 2, X(4), X(4), o.group_norm)
for shape in [(2, 3, 4, 4), (5, 3), (2, 3, 6)]:
    row("F.batch_norm", X(*shape), None, None, X(3), X(3), o.batch_norm, training=True)
    row("F.batch_norm", X(*shape), X(3), P(3), X(3), X(3), o.batch_norm, eps=1e-3)
row("F.batch_norm", X(2, 3, 4, 4), None, None, o.batch_norm, training=True)
row("F.normalize", X(3, 4), lambda x: x / np.sqrt((x * x).sum(1, keepdims=True)))
row("F.normalize", X(3, 4), lambda x, p, dim: x / (np.abs(x) ** 3).sum(0, keepdims=True) ** (1 / 3), p=3.0, dim=0)

# --- attention and dropout (the mask is drawn on the host, the same for every run and device) -------------------------
QKV = X(2, 2, 3, 4), X(2, 2, 5, 4), X(2, 2, 5, 6)
attend = "F.scaled_dot_product_attention"
row(attend, *QKV, o.attention)
row(attend, X(3, 4), X(5, 4), X(5, 2), o.attention, scale=0.3)
row(attend, X(2, 4, 4), X(2, 4, 4), X(2, 4, 4), o.attention, is_causal=True)
row(attend, *QKV, o.attention, is_causal=True)
row(attend, *QKV, o.attention, attn_mask=V(np.arange(15).reshape(3, 5) % 4 != 0))
row(attend, *QKV, o.attention, attn_mask=X(2, 1, 3, 5))
row(attend, X(2, 1, 1, 4), X(2, 1, 1, 4), X(2, 1, 1, 4), o.attention)
row(attend, *QKV, o.attention, dropout_p=0.4)
row("F.dropout", X(5, 6), lambda x, p: x * o.kept(x.shape, p), p=0.3)
row("F.dropout", X(5, 6), lambda x, p: x * 0, p=1.0)
row("F.dropout", X(5, 6), lambda x, training: x, training=False)
row("F.drop_path", X(4, 3, 2), lambda x, p: x * o.kept((4, 1, 1), p), p=0.5)

MLP = X(8, 3), X(8), X(8, 1, 3, 3), X(8), X(4, 8), X(4)
for n, size in [(2, (4, 6)), (1, (3, 5)), (3, (1, 2)), (0, (2, 2))]:
    for relu in [False, True]:
        row("F.conv_mlp", D(n, size[0] * size[1], 3), *MLP, o.conv_mlp, size=size, relu=relu)
row("F.conv_mlp", X(1, 12, 2), X(4, 2), None, X(4, 1, 5, 1), None, X(2, 4), None, o.conv_mlp, size=(4, 3), relu=False)

# --- kernels fed with what broadcasting repeats -----------------------------------------------------------------------
form("erf, expanded", lambda x: mg.erf(x.expand(3, 4)), X(3, 1), ref=lambda x: o.erf(np.broadcast_to(x, (3, 4))))
form("gelu, expanded", lambda x: F.gelu(x.expand(3, 4)), X(3, 1), ref=lambda x: o.gelu(np.broadcast_to(x, (3, 4))))
form("pad, expanded", lambda x: F.pad(x.expand(2, 3), (1, 2)), X(3), ref=lambda x: o.pad(np.stack([x, x]), (1, 2)))
form("layer_norm, expanded", lambda x: F.layer_norm(x.expand(2, 3, 4), 4), X(3, 4),
     ref=lambda x: o.layer_norm(np.stack([x, x]), 4))
form("conv2d, expanded", lambda x, w: F.conv2d(x.expand(2, 3, 4, 5), w, padding=1), X(3, 1, 5), X(4, 3, 3, 3),
     ref=lambda x, w: o.conv2d(np.broadcast_to(x, (2, 3, 4, 5)), w, padding=1))
form("max_pool2d, expanded", lambda x: F.max_pool2d(x.expand(2, 3, 4, 5), 2), D(3, 4, 5),
     ref=lambda x: o.max_pool2d(np.broadcast_to(x, (2, 3, 4, 5)), 2))

# --- losses -----------------------------------------------------------------------------------------------------------
for reduction in ["mean", "sum", "none"]:
    row("F.mse_loss", X(3, 4), X(3, 4), lambda x, y, reduction: o.reduce((x - y) ** 2, reduction), reduction=reduction)
    row("F.l1_loss", X(3, 4), X(3, 4), lambda x, y, reduction: o.reduce(np.abs(x - y), reduction), reduction=reduction)
    row("F.smooth_l1_loss", X(3, 4), X(3, 4), o.smooth_l1_loss, reduction=reduction)
    row("F.binary_cross_entropy_with_logits", X(3, 4), U(3, 4), o.bce_with_logits, reduction=reduction)
    for options in [{}, {"weight": P(5)}, {"ignore_index": 2}, {"weight": P(5), "ignore_index": 1}]:
        row("F.nll_loss", X(6, 5), I(5, 6), o.nll_loss, reduction=reduction, **options)
        row("F.cross_entropy", X(6, 5), I(5, 6), o.cross_entropy, reduction=reduction, **options)
        row("F.cross_entropy", X(6, 5), I(5, 6), o.cross_entropy, reduction=reduction, label_smoothing=0.2, **options)
    for options in [{}, {"weight": P(5)}, {"label_smoothing": 0.3}, {"weight": P(5), "label_smoothing": 0.1}]:
        row("F.cross_entropy", X(6, 5), Q(6, 5), o.cross_entropy, reduction=reduction, **options)
    row("F.cross_entropy", X(2, 4, 3, 2), I(4, 2, 3, 2), o.cross_entropy, reduction=reduction, ignore_index=0, weight=P(4))
row("F.smooth_l1_loss", X(3, 4), X(3, 4), o.smooth_l1_loss, beta=0.5)
row("F.smooth_l1_loss", X(3, 4), X(3, 4), o.smooth_l1_loss, beta=0)
row("F.nll_loss", X(2, 4, 3), I(4, 2, 3), o.nll_loss)
row("F.cross_entropy", X(5), V(3), o.cross_entropy)
row("F.cross_entropy", X(2, 4, 3), Q(2, 4, 3), o.cross_entropy, label_smoothing=0.1)
row("F.binary_cross_entropy_with_logits", X(3, 4), U(3, 4), o.bce_with_logits, weight=P(4), pos_weight=P(4))
