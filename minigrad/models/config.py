"""The configuration of Pyramid Vision Transformer v2, checked in full when it is made."""

import math
from dataclasses import asdict, dataclass, fields, replace

from minigrad import nn

POOL = 7  # side of the key/value grid of linear attention
ACTIVATIONS = ("gelu", "relu", "selu", "gelu_new")
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
        hidden_act: activation of the feed-forward networks: "gelu", "relu", "selu" or "gelu_new" (tanh approximation).
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
        if not self.patch_sizes:
            self._set("patch_sizes", (self.patch_size, *[3] * (self.num_stages - 1)))
        if not self.strides:
            self._set("strides", (4, *[2] * (self.num_stages - 1)))
        for name in ("embed_dims", "num_heads", "depths", "sr_ratios", "patch_sizes", "strides", "mlp_ratios"):
            values = getattr(self, name)
            if isinstance(values, str) or not hasattr(values, "__iter__"):
                raise ValueError(f"{name} must have one entry for each of the {self.num_stages} stages, got {values!r}")
            values = tuple(values)
            if len(values) != self.num_stages:
                raise ValueError(
                    f"{name} has {len(values)} entries, {values}, but num_stages is {self.num_stages}; they must agree"
                )
            for value in values:
                if name == "mlp_ratios":
                    _number(name, value)
                else:
                    _whole(name, value, 1)
            self._set(name, values)
        for i, (dim, heads) in enumerate(zip(self.embed_dims, self.num_heads, strict=True), 1):
            if dim % heads:
                raise ValueError(
                    f"stage {i}: embed_dims {dim} can't be divided among num_heads {heads}; choose a multiple of {heads}"
                )
        for i, (dim, ratio) in enumerate(zip(self.embed_dims, self.mlp_ratios, strict=True), 1):
            if int(dim * ratio) < 1:
                raise ValueError(f"stage {i}: mlp_ratios {ratio} of embed_dims {dim} leaves no hidden channel; choose more")
        for name in ("qkv_bias", "linear"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name in ("drop_rate", "attn_drop_rate", "drop_path_rate", "head_drop_rate"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {value!r}")
        for name in ("initializer_range", "layer_norm_eps", "embed_norm_eps"):
            _number(name, getattr(self, name))
        if self.qk_scale is not None:
            _number("qk_scale", self.qk_scale)
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {self.hidden_act!r}")
        if self.global_pool not in ("avg", ""):
            raise ValueError(f"global_pool must be 'avg' or '' (none), got {self.global_pool!r}")
        if not self.global_pool and self.num_classes:
            raise ValueError(f"global_pool '' leaves a map, which no classifier reads; num_classes must be 0, got {self.num_classes}")
        if self.problem_type is not None and self.problem_type not in PROBLEMS:
            raise ValueError(f"problem_type must be None or one of {', '.join(PROBLEMS)}, got {self.problem_type!r}")
        if not isinstance(self.norm_layer, type):
            raise ValueError(f"norm_layer must be a class such as nn.LayerNorm, got {self.norm_layer!r}")
        size = self.img_size if isinstance(self.img_size, tuple | list) else (self.img_size, self.img_size)
        if len(size) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) for n in size):
            raise ValueError(f"img_size must be a number of pixels or (height, width), got {self.img_size!r}")
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
            least = side if self.linear else max(side, sr)  # of this stage's map, whose side is (n + 2·⌊k/2⌋ - k) // s + 1
            side = max((least - 1) * s + k % 2, 1)
        return side

    def check_size(self, height: int, width: int) -> None:
        """Raises ValueError when an image of this size is too small for some stage."""
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
        total, kept = sum(self.depths), sum(self.depths[:count])
        changes = {
            name: getattr(self, name)[:count]
            for name in ("embed_dims", "num_heads", "mlp_ratios", "depths", "sr_ratios", "patch_sizes", "strides")
        }
        rate = self.drop_path_rate * (kept - 1) / max(total - 1, 1)
        return replace(self, num_stages=count, drop_path_rate=rate, **changes)

    def to_dict(self) -> dict:
        """The fields as plain values that JSON can hold."""
        out = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        out["norm_layer"] = self.norm_layer.__name__
        return out

    @classmethod
    def from_dict(cls, values: dict) -> "PVTV2Config":
        """The configuration that `to_dict` described.

        Raises:
            ValueError: when a field is unknown, or a value doesn't fit.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"PVTV2Config has no field {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        norm = values.get("norm_layer")
        if isinstance(norm, str):
            if norm not in ("LayerNorm",):
                raise ValueError(f"norm_layer {norm!r} is unknown; a configuration file can name LayerNorm only")
            values["norm_layer"] = nn.LayerNorm
        return cls(**values)


def _whole(name: str, value, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(name: str, value) -> None:
    if not _is_number(value) or value <= 0:
        raise ValueError(f"{name} must be a positive number, got {value!r}")
