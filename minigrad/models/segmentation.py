"""A class for every pixel: two heads that make PVT v2 a semantic segmenter, the one of its paper and SegFormer's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minigrad import checks, nn
from minigrad.engine.tensor import Tensor
from minigrad.functions import cat
from minigrad.models.outputs import Predicts, SemanticSegmenterOutput, Value, segmentation_loss
from minigrad.models.pvt_v2.backbone import FeatureListNet, PVTV2Backbone
from minigrad.models.pvt_v2.blocks import init_weights, to_map, to_tokens
from minigrad.models.pvt_v2.config import PVTV2Config, _whole, short
from minigrad.models.pvt_v2.encoder import PVTV2Encoder
from minigrad.models.pvt_v2.features import FeatureInfo
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.utils import evaluation


class Segmenter(nn.Module):
    """What both segmenters are: a backbone, a head that makes logits of its maps, the loss and the prediction.

    Args:
        backbone: a `PVTV2Backbone` that gives two maps or more; a `PVTV2Config`, for a new one that gives the maps of all
            stages; or any other model here (`models.pvt_v2_b0(pretrained=True)`), whose stages are used, not copied.
        num_classes: number of classes. With 1, a single logit a pixel tells class 1 from 0.
        ignore_index: the label of pixels that don't count in the loss.
        id2label: the classes' names, {0: "sky", …}; optional.

    Raises:
        ValueError: when one of them doesn't fit. TypeError: for another kind of backbone.
    """

    __call__: Predicts[SemanticSegmenterOutput]
    backbone: Any  # an encoder with out_indices
    decode_head: Any  # a module with a classifier

    def __init__(
        self,
        backbone: PVTV2Encoder | PVTV2Config,
        num_classes: int,
        ignore_index: int = 255,
        id2label: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__()
        _whole("num_classes", num_classes, 1)
        ignore_index = checks.whole(type(self).__name__, "ignore_index", ignore_index)
        if 0 <= ignore_index < num_classes:
            raise ValueError(
                f"ignore_index {ignore_index} is the number of one of the {num_classes} classes; choose another, such as -100"
            )
        if id2label is not None:
            given = list(checks.mapping(type(self).__name__, "id2label", id2label, "a dict from numbers to names"))
            if len(given) != num_classes or set(given) != set(range(num_classes)):
                raise ValueError(f"id2label must name the {num_classes} classes from 0 on, got {short(given)}")
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.id2label = None if id2label is None else dict(id2label)
        self.backbone = _backbone(backbone)
        self.stages = [i % self.config.num_stages for i in self.backbone.out_indices]
        if len(self.stages) < 2:
            raise ValueError(
                f"{type(self).__name__} takes a backbone that gives at least two maps, and this one gives stage "
                f"{self.stages[0] + 1} alone; make it with out_indices={list(range(self.config.num_stages))}"
            )

    @property
    def config(self) -> PVTV2Config:
        """The backbone's configuration."""
        return self.backbone.config

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Regular expressions that sort parameters by depth, as the backbone's; the neck and the head come behind all of them.
        (`optim.param_groups_layer_decay` uses it.)"""
        return {
            name: rf"^backbone\.{text.removeprefix('^')}" for name, text in self.backbone.group_matcher(coarse).items()
        }

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that take no weight decay besides biases and norms: the backbone's."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def _start(self) -> None:
        """Draws the head's initial weights as the backbone's are drawn, the classifier's narrower: with few classes these
        would give large logits."""
        for name, part in self.named_children():
            if name != "backbone":
                part.apply(lambda module: init_weights(module, self.config.initializer_range))
        init.normal_(self.decode_head.classifier.weight, 0.0, self.config.initializer_range)

    def decode(self, maps: list[Tensor]) -> Tensor:
        """The backbone's maps → logits (N, num_classes, h, w) of the first map's size."""
        return self.decode_head(self._maps(maps))

    def _maps(self, maps: object) -> list[Tensor]:
        who = f"{type(self).__name__}.decode"
        found = checks.entries(who, "maps", maps, "a list of tensors (N, C, H, W)", Tensor)
        if len(found) != len(self.stages):
            raise ValueError(f"{who}: expected {len(self.stages)} maps, got {len(found)}")
        return found

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool | None = None,
    ) -> Tensor | SemanticSegmenterOutput | tuple[Value, ...]:
        """Logits (N, num_classes, h, w) of the first map's size, H/4 × W/4 with the default strides; or, when more is asked
        for, a `SemanticSegmenterOutput`.

        Args:
            pixel_values: images (N, in_channels, H, W), normalised; any size from `config.min_size` on.
            labels: class numbers (N, H, W); the output then has the loss of `outputs.segmentation_loss`.
            output_attentions: hand out the attention weights of every block, (N, heads, H·W, keys).
            output_hidden_states: hand out the map of every stage, (N, C, H, W).
            return_dict: True for a `SemanticSegmenterOutput` in any case, False for a plain tuple of what isn't None.

        Raises:
            ValueError: for images of a wrong shape or too small, and labels of another shape.
            IndexError: for a label that is neither a class nor `ignore_index`.
        """
        attentions: list | None = [] if output_attentions else None
        count = None if output_attentions or output_hidden_states else self.stages[-1] + 1
        maps = self.backbone.stage_maps(pixel_values, attentions, count)
        logits = self.decode([maps[i] for i in self.stages])
        if labels is None and not output_hidden_states and not output_attentions and return_dict is None:
            return logits
        out = SemanticSegmenterOutput(
            None if labels is None else segmentation_loss(logits, labels, self.ignore_index),
            logits,
            tuple(maps) if output_hidden_states else None,
            tuple(attentions) if attentions is not None else None,
        )
        return out.to_tuple() if return_dict is False else out

    def predict(self, pixel_values: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """The most probable class of every pixel, (N, H, W) int64, of the images' size or of `size` (height, width).

        The logits are enlarged bilinearly, then compared. Runs in evaluation mode and without gradients, whatever the model's
        mode is; one image at a time is enlarged, as that takes the most memory.

        Raises:
            ValueError: for images of a wrong shape or too small.
        """
        with evaluation(self):
            logits = self(pixel_values)
            size = pixel_values.shape[2:] if size is None else size
            maps = []
            for i in range(logits.shape[0]):
                large = F.interpolate(logits[i : i + 1], size, mode="bilinear", align_corners=False)
                maps.append(large.argmax(1) if self.num_classes > 1 else (large[:, 0] > 0).long())
            return cat(maps) if maps else Tensor(np.zeros((0, *size), np.int64), device=logits.device)


def _backbone(given: PVTV2Encoder | PVTV2Config) -> PVTV2Encoder:
    if isinstance(given, PVTV2Config):
        return PVTV2Backbone(given, out_indices=list(range(given.num_stages)))
    if isinstance(given, PVTV2Backbone | FeatureListNet):
        return given
    if isinstance(given, PVTV2Encoder):
        return FeatureListNet(given)  # without the classifier
    raise TypeError(
        f"a segmenter's backbone is a PVTV2Backbone, another model or a PVTV2Config; got {type(given).__name__}"
    )


class SemanticFPN(Segmenter):
    """Semantic FPN (Kirillov et al. 2019, "Panoptic Feature Pyramid Networks", arXiv 1901.02446) on PVT v2, as in the PVT v2
    paper's experiments: `FPN`, then `FPNHead`.

    Args:
        backbone, num_classes, ignore_index, id2label: as in `Segmenter`.
        channels: channels of the pyramid's maps.
        head_channels: channels of the head's maps.
        dropout: of the head's sum, before the classifier.
        norm_layer: makes the head's norm of a number of channels: batch norm as in the PVT v2 paper, or
            `functools.partial(nn.GroupNorm, 32)` as in Kirillov's.

    Shapes: (N, in_channels, H, W) → logits (N, num_classes, ⌈H/4⌉, ⌈W/4⌉) with the default strides.

    >>> import minigrad as mg
    >>> from minigrad import models
    >>> model = models.SemanticFPN(models.pvt_v2_tiny(img_size=64), num_classes=5, channels=32, head_channels=32)
    >>> images, labels = mg.zeros(2, 3, 64, 50), mg.zeros(2, 64, 50).long()
    >>> model(images).shape, model(images, labels=labels).loss.shape, model.predict(images).shape
    ((2, 5, 16, 13), (), (2, 64, 50))
    """

    def __init__(
        self,
        backbone: PVTV2Encoder | PVTV2Config,
        num_classes: int,
        ignore_index: int = 255,
        id2label: Mapping[int, str] | None = None,
        *,
        channels: int = 256,
        head_channels: int = 128,
        dropout: float = 0.1,
        norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__(backbone, num_classes, ignore_index, id2label)
        _whole("channels", channels, 1)
        checks.function(type(self).__name__, "norm_layer", norm_layer)
        _whole("head_channels", head_channels, 1)
        info = FeatureInfo(self.config, self.stages)
        self.neck = FPN(info.channels(), channels)
        self.decode_head = FPNHead(channels, info.reduction(), head_channels, num_classes, dropout, norm_layer)
        self._start()

    def decode(self, maps: list[Tensor]) -> Tensor:
        return self.decode_head(self.neck(self._maps(maps)))


class MLPSegmenter(Segmenter):
    """SegFormer's head (Xie et al. 2021, "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
    arXiv 2105.15203) on PVT v2: `MLPHead`, which has linear layers only.

    Args:
        backbone, num_classes, ignore_index, id2label: as in `Segmenter`.
        channels: width of the head; the paper has 256 on its smallest two backbones and 768 on the others.
        dropout: before the classifier.
        norm_layer: makes the head's norm of a number of channels.

    Shapes: (N, in_channels, H, W) → logits (N, num_classes, ⌈H/4⌉, ⌈W/4⌉) with the default strides.

    >>> import minigrad as mg
    >>> from minigrad import models
    >>> model = models.MLPSegmenter(models.pvt_v2_tiny(img_size=64), num_classes=2, channels=32, id2label={0: "road", 1: "rest"})
    >>> model.predict(mg.zeros(1, 3, 64, 96)).shape, model.id2label[0]
    ((1, 64, 96), 'road')
    """

    def __init__(
        self,
        backbone: PVTV2Encoder | PVTV2Config,
        num_classes: int,
        ignore_index: int = 255,
        id2label: Mapping[int, str] | None = None,
        *,
        channels: int = 256,
        dropout: float = 0.1,
        norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__(backbone, num_classes, ignore_index, id2label)
        _whole("channels", channels, 1)
        checks.function(type(self).__name__, "norm_layer", norm_layer)
        dims = FeatureInfo(self.config, self.stages).channels()
        self.decode_head = MLPHead(dims, channels, num_classes, dropout, norm_layer)
        self._start()


class FPN(nn.Module):
    """The pyramid of Lin et al. 2017 (arXiv 1612.03144): p_i = conv₃ₓ₃(m_i), m_i = conv₁ₓ₁(c_i) + nearest(m_{i+1}), from the
    smallest map up, each of `channels` channels: as many maps as are given, of the same sizes."""

    def __init__(self, in_channels: list[int], channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList([nn.Conv2d(dim, channels, 1) for dim in in_channels])
        self.fpn_convs = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        merged = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for i in reversed(range(len(merged) - 1)):
            merged[i] = merged[i] + F.interpolate(merged[i + 1], merged[i].shape[2:], mode="nearest")
        return [conv(x) for conv, x in zip(self.fpn_convs, merged, strict=True)]


class FPNHead(nn.Module):
    """Each map through one 3×3 convolution, norm, ReLU and doubling (bilinear) for every halving that lies between it and the
    first map, which goes through one without doubling; their sum, dropout, and a 1×1 convolution to the classes."""

    def __init__(
        self, in_channels: int, reductions: list[int], channels: int, num_classes: int, dropout: float, norm_layer
    ) -> None:
        super().__init__()
        heads = []
        for reduction in reductions:
            halvings = (reduction // reductions[0]).bit_length() - 1
            layers: list[nn.Module] = []
            for i in range(max(halvings, 1)):
                layers.append(ConvNormReLU(channels if i else in_channels, channels, norm_layer))
                if halvings:
                    layers.append(Double())
            heads.append(nn.Sequential(*layers))
        self.scale_heads = nn.ModuleList(heads)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        total, *rest = (head(x) for head, x in zip(self.scale_heads, maps, strict=True))
        for x in rest:
            total = total + resized(x, total.shape[2:])  # doubling an odd map's half gives one pixel too many
        return self.classifier(self.dropout(total))


class MLPHead(nn.Module):
    """Each map's pixels through a linear layer to `channels`, enlarged (bilinear) to the first map's size; all of them, the
    last map's first, through a 1×1 convolution, norm, ReLU, dropout, and a 1×1 convolution to the classes. The modules have
    the names of SegFormer's published weights."""

    def __init__(self, in_channels: list[int], channels: int, num_classes: int, dropout: float, norm_layer) -> None:
        super().__init__()
        self.linear_c = nn.ModuleList([PixelLinear(dim, channels) for dim in in_channels])
        self.linear_fuse = nn.Conv2d(channels * len(in_channels), channels, 1, bias=False)
        self.batch_norm = norm_layer(channels)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        same = [resized(linear(x), maps[0].shape[2:]) for linear, x in zip(self.linear_c, maps, strict=True)]
        x = F.relu(self.batch_norm(self.linear_fuse(cat(same[::-1], 1))))
        return self.classifier(self.dropout(x))


class PixelLinear(nn.Module):
    """A linear layer from pixel to pixel of a map."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return to_map(self.proj(to_tokens(x)), (x.shape[2], x.shape[3]))


class ConvNormReLU(nn.Module):
    """relu(norm(conv₃ₓ₃(x))), the size unchanged; the norm's bias stands for the convolution's."""

    def __init__(self, in_channels: int, channels: int, norm_layer) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = norm_layer(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Double(nn.Module):
    """(N, C, H, W) → (N, C, 2H, 2W), bilinear."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """A map enlarged or reduced to `size`, bilinear; itself when it has that size."""
    return x if x.shape[2:] == tuple(size) else F.interpolate(x, size, mode="bilinear", align_corners=False)
