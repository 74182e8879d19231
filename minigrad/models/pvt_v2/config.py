"""The configuration of Pyramid Vision Transformer v2, checked in full when it is made."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from minigrad import checks, nn
from minigrad.callers import warn
from minigrad.interop import configurations
from minigrad.interop.configurations import short

POOL = 7  # side of the key/value grid of linear attention
LARGEST = 2**31 - 1  # of any whole number here
ACTIVATIONS = ("gelu", "relu", "selu", "gelu_new", "gelu_pytorch_tanh", "silu")
PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")


@dataclass(frozen=True)
class PVTV2Config:
    """What a `PVT_V2` is made of. Lists are accepted for tuples; tuples have one entry for each stage.

    Args:
        img_size: image side in pixels, or (height, width): what summaries and warnings assume; any size can be forwarded.
        patch_size: kernel of the first patch embedding (odd; 3 in later stages, unless `patch_sizes` says otherwise).
        in_channels: channels of the image.
        num_classes: outputs of the classifier; 0 for none (pooled features).
        embed_dims: channels of each stage, divisible by its heads.
        num_heads: attention heads of each stage.
        mlp_ratios: hidden width of each stage's feed-forward network, in units of its channels.
        qkv_bias: whether queries, keys and values have a bias.
        qk_scale: factor of query·key; 1/√(channels of a head) when None.
        drop_rate: dropout of projections and feed-forward networks.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth: rises linearly from 0 at the first block to this at the last.
        norm_layer: class of the normalisation layers.
        depths: blocks in each stage.
        sr_ratios: spatial reduction of each stage's keys and values (1: none).
        num_stages: number of stages.
        linear: linear attention: keys and values are averaged to a 7×7 grid; `sr_ratios` is then without effect.
        patch_sizes, strides: kernel and stride of each stage's patch embedding; (patch_size, 3, 3, …) and (4, 2, 2, …) when empty.
        hidden_act: activation of the feed-forward networks: "gelu", "relu", "selu", "silu", or "gelu_new" and
            "gelu_pytorch_tanh", which both are GELU's approximation by tanh.
        initializer_range: standard deviation of the initial weights of linear layers.
        layer_norm_eps: ε of the norms in blocks and at the ends of stages.
        embed_norm_eps: ε of the norms behind patch embeddings and spatial reductions.
        head_drop_rate: dropout of the pooled features before the classifier (timm's `drop_rate`).
        global_pool: "avg", the mean over the last map, or "" for the map itself, which takes num_classes=0.
        problem_type: the loss that labels ask for: "regression", "single_label_classification" or
            "multi_label_classification"; told from the labels when None (`outputs.classification_loss`).

    Raises:
        ValueError: one sentence for the first field that doesn't fit.
    """

    img_size: int | tuple[int, int] = 224
    patch_size: int = 7
    in_channels: int = 3
    num_classes: int = 1000
    embed_dims: tuple[int, ...] = (64, 128, 256, 512)
    num_heads: tuple[int, ...] = (1, 2, 4, 8)
    mlp_ratios: tuple[float, ...] = (4, 4, 4, 4)
    qkv_bias: bool = False
    qk_scale: float | None = None
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    norm_layer: type = nn.LayerNorm
    depths: tuple[int, ...] = (3, 4, 6, 3)
    sr_ratios: tuple[int, ...] = (8, 4, 2, 1)
    num_stages: int = 4
    linear: bool = False
    patch_sizes: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    hidden_act: str = "gelu"
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-6
    embed_norm_eps: float = 1e-5
    head_drop_rate: float = 0.0
    global_pool: str = "avg"
    problem_type: str | None = None

    def __post_init__(self) -> None:
        _whole("num_stages", self.num_stages, 1)
        _whole("patch_size", self.patch_size, 1)
        _whole("in_channels", self.in_channels, 1)
        _whole("num_classes", self.num_classes, 0)
        for name in ("embed_dims", "num_heads", "depths", "sr_ratios", "mlp_ratios", "patch_sizes", "strides"):
            values = getattr(self, name)
            left_out = values is None or isinstance(values, tuple | list) and not values
            if name == "patch_sizes" and left_out:  # num_stages is that of embed_dims by now, so it is no huge number
                values = (self.patch_size, *[3] * (self.num_stages - 1))
            if name == "strides" and left_out:
                values = (4, *[2] * (self.num_stages - 1))
            if isinstance(values, str) or not hasattr(values, "__iter__"):
                raise ValueError(
                    f"{name} must have one entry for each of the {self.num_stages} stages, got {short(values)}"
                )
            values = tuple(values)
            if len(values) != self.num_stages:
                raise ValueError(
                    f"{name} has {len(values)} entries, {short(values)}, but num_stages is {self.num_stages}; they must agree"
                )
            for value in values:
                if name == "mlp_ratios":
                    _number(name, value)
                else:
                    _whole(name, value, 1)
            self._set(name, values)
        self._set("patch_size", self.patch_sizes[0])  # so that one network is one configuration
        for i, (dim, heads) in enumerate(zip(self.embed_dims, self.num_heads, strict=True), 1):
            if dim % heads:
                raise ValueError(
                    f"stage {i}: embed_dims {dim} can't be divided among num_heads {heads}; choose a multiple of {heads}"
                )
        for i, (dim, ratio) in enumerate(zip(self.embed_dims, self.mlp_ratios, strict=True), 1):
            if not 1 <= dim * ratio <= LARGEST:
                raise ValueError(
                    f"stage {i}: mlp_ratios {ratio} of embed_dims {dim} leaves no hidden channel; choose more"
                    if dim * ratio < 1
                    else f"stage {i}: mlp_ratios {ratio} of embed_dims {dim} are too many hidden channels; choose less"
                )
        for name in ("qkv_bias", "linear"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {short(getattr(self, name))}")
        for name in ("drop_rate", "attn_drop_rate", "drop_path_rate", "head_drop_rate"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {short(value)}")
        for name in ("initializer_range", "layer_norm_eps", "embed_norm_eps"):
            _number(name, getattr(self, name))
        if self.qk_scale is not None:
            _number("qk_scale", self.qk_scale)
        if not isinstance(self.hidden_act, str) or self.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {short(self.hidden_act)}")
        if not isinstance(self.global_pool, str) or self.global_pool not in ("avg", ""):
            raise ValueError(f"global_pool must be 'avg' or '' (none), got {short(self.global_pool)}")
        if not self.global_pool and self.num_classes:
            raise ValueError(
                f"global_pool '' leaves a map, which no classifier reads; num_classes must be 0, got {self.num_classes}"
            )
        if self.problem_type is not None and not (isinstance(self.problem_type, str) and self.problem_type in PROBLEMS):
            raise ValueError(
                f"problem_type must be None or one of {', '.join(PROBLEMS)}, got {short(self.problem_type)}"
            )
        if self.problem_type == "single_label_classification" and self.num_classes == 1:
            raise ValueError(
                "problem_type 'single_label_classification' with one class leaves nothing to learn: its loss is always 0; give 2 "
                "classes, or another problem_type"
            )
        if not isinstance(self.norm_layer, type):
            raise ValueError(f"norm_layer must be a class such as nn.LayerNorm, got {short(self.norm_layer)}")
        size = self.img_size if isinstance(self.img_size, tuple | list) else (self.img_size, self.img_size)
        if len(size) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) for n in size):
            raise ValueError(f"img_size must be a number of pixels or (height, width), got {short(self.img_size)}")
        if not isinstance(self.img_size, int):
            self._set("img_size", tuple(size))
        self.check_size(*size)

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)

    @property
    def image_shape(self) -> tuple[int, int]:
        """(height, width) of `img_size`."""
        return (self.img_size, self.img_size) if isinstance(self.img_size, int) else self.img_size

    def map_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width of each stage's map for an image of the given size."""
        height, width = checks.whole("map_sizes", "height", height), checks.whole("map_sizes", "width", width)
        sizes = []
        for k, s in zip(self.patch_sizes, self.strides, strict=True):
            height, width = ((n + 2 * (k // 2) - k) // s + 1 for n in (height, width))
            sizes.append((height, width))
        return sizes

    def key_grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width of each stage's grid of distinct keys and values."""
        if self.linear:
            return [(min(h, POOL), min(w, POOL)) for h, w in self.map_sizes(height, width)]
        return [(h // sr, w // sr) for (h, w), sr in zip(self.map_sizes(height, width), self.sr_ratios, strict=True)]

    @property
    def min_size(self) -> int:
        """The smallest image side, in pixels, for which every stage has a key."""
        side = 1
        for k, s, sr in reversed(list(zip(self.patch_sizes, self.strides, self.sr_ratios, strict=True))):
            least = (
                side if self.linear else max(side, sr)
            )  # of this stage's map, whose side is (n + 2·⌊k/2⌋ - k) // s + 1
            side = max((least - 1) * s + k % 2, 1)
        return side

    def check_size(self, height: int, width: int) -> None:
        """Raises ValueError when an image of this size is too small for some stage."""
        height, width = checks.whole("check_size", "height", height), checks.whole("check_size", "width", width)
        smallest = self.min_size
        if min(height, width) < smallest:
            raise ValueError(
                f"an image of {height}×{width} pixels is too small: with strides {self.strides} and sr_ratios {self.sr_ratios} "
                f"it takes at least {smallest}×{smallest}; enlarge the image or lower sr_ratios"
            )

    def replace(self, **changes) -> "PVTV2Config":
        """A copy with some fields changed, checked again."""
        if "patch_size" in changes or "num_stages" in changes:
            changes.setdefault("patch_sizes", ())
        if "num_stages" in changes:
            changes.setdefault("strides", ())
        return replace(self, **changes)

    def first_stages(self, count: int) -> "PVTV2Config":
        """The configuration of the first `count` stages alone, with their drop path rates."""
        count = checks.whole("first_stages", "count", count)
        total, kept = sum(self.depths), sum(self.depths[:count])
        changes = {
            name: getattr(self, name)[:count]
            for name in ("embed_dims", "num_heads", "mlp_ratios", "depths", "sr_ratios", "patch_sizes", "strides")
        }
        rate = self.drop_path_rate * (kept - 1) / max(total - 1, 1)
        return replace(self, num_stages=count, drop_path_rate=rate, **changes)

    def to_dict(self) -> dict[str, object]:
        """The fields as plain values that JSON can hold."""
        out = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        out["norm_layer"] = self.norm_layer.__name__
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PVTV2Config":
        """The configuration that `to_dict` described.

        Raises:
            ValueError: when a field is unknown, or a value doesn't fit.
        """
        checks.mapping("PVTV2Config.from_dict", "values", values)
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(
                f"PVTV2Config has no field {', '.join(map(str, unknown))[:80]}; it has {', '.join(sorted(known))}"
            )
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        norm = values.get("norm_layer")
        if isinstance(norm, str):
            if norm not in ("LayerNorm",):
                raise ValueError(f"norm_layer {short(norm)} is unknown; a configuration file can name LayerNorm only")
            values["norm_layer"] = nn.LayerNorm
        return cls(**values)

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> "PVTV2Config":
        """The configuration that a Hugging Face `PvtV2Config` (its `to_dict()`, or a model's `config.json`) describes.

        What it leaves out has Hugging Face's default, which is PVTv2-B0 with two classes. Its one ε is that of every norm here,
        unless there is an entry `embed_norm_eps`, as `to_hf` writes it.
        Entries that say nothing of the network (`architectures`, `torch_dtype`, …) are ignored.

        Raises:
            ValueError: when it is of another kind of model, or a value doesn't fit.

        >>> PVTV2Config.from_hf({"hidden_sizes": [8, 16, 40, 64], "id2label": {"0": "cat", "1": "dog", "2": "owl"}}).num_classes
        3
        """
        return cls.from_dict(configurations.from_hf(checks.mapping("PVTV2Config.from_hf", "values", values)))

    def to_hf(self, id2label: Mapping[int, str] | None = None) -> dict[str, object]:
        """The fields of a Hugging Face `PvtV2Config` as plain values, `model_type` among them; and under our names what its model
        has no place for and `from_hf` reads again: the second ε, `head_drop_rate` and `global_pool`, where they say more.

        Args:
            id2label: the classes' names; LABEL_0, LABEL_1, … when None.

        Warns when the two ε differ, or the classifier has dropout, for Hugging Face's model has neither.

        Raises:
            ValueError: when Hugging Face's model can't be like this one, or there are more or fewer names than classes.
        """
        if self.qk_scale is not None and any(
            not math.isclose(self.qk_scale, (dim // heads) ** -0.5)
            for dim, heads in zip(self.embed_dims, self.num_heads, strict=True)
        ):
            raise ValueError(f"Hugging Face's PVT v2 has no qk_scale, and this model's is {self.qk_scale}")
        if self.norm_layer is not nn.LayerNorm:
            raise ValueError(f"Hugging Face's PVT v2 has LayerNorm only, and this model has {self.norm_layer.__name__}")
        if any(ratio != int(ratio) for ratio in self.mlp_ratios):
            raise ValueError(f"Hugging Face's PVT v2 has whole mlp_ratios only, and this model has {self.mlp_ratios}")
        if self.embed_norm_eps != self.layer_norm_eps:
            warn(
                f"Hugging Face's PVT v2 has one ε for all norms: it will use {self.layer_norm_eps} where this model has "
                f"embed_norm_eps = {self.embed_norm_eps}, which changes logits by about 1e-5"
            )
        if self.head_drop_rate:
            warn(f"Hugging Face's PVT v2 trains without head_drop_rate, which is {self.head_drop_rate} in this model")
        names = {i: f"LABEL_{i}" for i in range(self.num_classes)}
        if id2label is not None:
            names = dict(checks.mapping("to_hf", "id2label", id2label, "a dict from numbers to names"))
        names = configurations.class_names(names, self.num_classes)
        return configurations.to_hf({f.name: getattr(self, f.name) for f in fields(self)}, names)


def _whole(name: str, value, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {short(value)}")
    if value > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST}, got a number of {value.bit_length()} bits")


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _number(name: str, value) -> None:
    if not _is_number(value) or value <= 0:
        raise ValueError(f"{name} must be a positive number, got {short(value)}")
