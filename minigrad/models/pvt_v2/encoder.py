"""The part that the classifier, the bare encoder and the backbone of PVT v2 have in common."""

from collections.abc import Sequence
from typing import Literal, overload

from minigrad import checks, nn
from minigrad.callers import warn
from minigrad.engine.tensor import Tensor
from minigrad.models.pvt_v2.blocks import Stage, init_weights, make_embed
from minigrad.models.pvt_v2.config import PVTV2Config
from minigrad.models.pvt_v2.features import FeatureInfo, take_indices
from minigrad.nn import init


class PVTV2Encoder(nn.Module):
    """The first patch embedding and the stages: what the classifier, the bare encoder and the backbone have in common.

    Args:
        config: a `PVTV2Config`; or leave it out and give its fields as keywords; or give both, and the keywords change it.
    """

    def __init__(self, config: PVTV2Config | None = None, **fields) -> None:
        super().__init__()
        if config is None:
            config = PVTV2Config(**fields)
        elif not isinstance(config, PVTV2Config):
            raise TypeError(
                f"{type(self).__name__} takes a PVTV2Config, or its fields as keywords; got {type(config).__name__}"
            )
        elif fields:
            config = config.replace(**fields)
        self.config = config

        def norm(dim):
            return config.norm_layer(dim, eps=config.layer_norm_eps)

        def embed_norm(dim):
            return config.norm_layer(dim, eps=config.embed_norm_eps)

        total = sum(config.depths)
        rates = [config.drop_path_rate * i / max(total - 1, 1) for i in range(total)]
        self.patch_embed = make_embed(config, 0, embed_norm)
        stages = []
        for stage, depth in enumerate(config.depths):
            first = sum(config.depths[:stage])
            stages.append(Stage(config, stage, rates[first : first + depth], norm, embed_norm))
        self.stages = nn.ModuleList(stages)

    def _start(self) -> None:
        """Draws the initial weights; the last thing that a model's constructor does."""
        if init.weightless():
            return
        self.apply(lambda module: init_weights(module, self.config.initializer_range))
        warn_constant_attention(self.config)

    def stage_maps(self, x: Tensor, attentions: list | None = None, count: int | None = None) -> list[Tensor]:
        """The map of every stage, or of the first `count`: (N, C, H, W) each. Attention weights are appended to `attentions`
        if it is a list, (N, heads, H·W, keys) from each block.

        Raises:
            TypeError: for anything but a Tensor of floating-point numbers.
            ValueError: when the image has the wrong number of channels or is too small.
        """
        kind = type(self).__name__
        if not isinstance(attentions, list | None):
            raise checks.wrong(kind, "attentions", "a list or None", attentions)
        count = None if count is None else checks.whole(kind, "count", count)
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{kind}: expected a Tensor of images (N, {self.config.in_channels}, H, W), got {type(x).__name__}; "
                "models.ImageProcessor makes one from files and pictures, mg.tensor from an array"
            )
        if not x.is_floating_point():
            raise TypeError(
                f"{kind}: expected images of floating-point numbers, got {x.dtype.name}; prepare them as in training"
            )
        if x.ndim != 4 or x.shape[1] != self.config.in_channels:
            raise ValueError(f"{kind}: expected images (N, {self.config.in_channels}, H, W), got shape {x.shape}")
        self.config.check_size(*x.shape[2:])
        x, size = self.patch_embed(x)
        maps = []
        for stage in list(self.stages)[:count]:
            x = stage(x, size, attentions)
            maps.append(x)
        return maps

    @overload
    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False, stop_early: bool = False,
        output_fmt: str = "NCHW", intermediates_only: Literal[False] = False,
    ) -> tuple[Tensor, list[Tensor]]: ...  # fmt: skip

    @overload
    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False, stop_early: bool = False,
        output_fmt: str = "NCHW", *, intermediates_only: Literal[True],
    ) -> list[Tensor]: ...  # fmt: skip

    @overload
    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False, stop_early: bool = False,
        output_fmt: str = "NCHW", intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]: ...  # fmt: skip

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False, stop_early: bool = False,
        output_fmt: str = "NCHW", intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:  # fmt: skip
        """(the last map, [the maps asked for]), timm's way to ask for several stages' features.

        Args:
            x: images (N, in_channels, H, W).
            indices: the last n stages if a number, all if None, or a sequence of positions (from 0; negative ones count
                from the end). The maps come in the stages' order.
            norm: without effect: every stage's map is normalised.
            stop_early: leave out the stages after the last one that is asked for.
            output_fmt: "NCHW", there is no other.
            intermediates_only: return the list alone.

        Raises:
            ValueError: for a position that there isn't, or another format.
        """
        checks.choice(type(self).__name__, "output_fmt", output_fmt, ("NCHW",))
        taken = take_indices(len(self.stages), indices)
        maps = self.stage_maps(x, count=max(taken) + 1 if stop_early else None)
        intermediates = [maps[i] for i in range(len(maps)) if i in taken]
        return intermediates if intermediates_only else (maps[-1], intermediates)

    @property
    def feature_info(self) -> FeatureInfo:
        """Channels, reduction and module of each stage's map."""
        return FeatureInfo(self.config)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether a block keeps only its input for backward and computes the rest again there (`mg.autograd.checkpoint`):
        less memory for about a third more time. Gradients are the same, also with dropout and drop path."""
        for module in self.modules():
            if isinstance(module, Stage):
                module.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Regular expressions that sort parameters by depth, for learning rates that fall towards the input: the stem, and
        one group for each stage (also when `coarse` is False, as in timm)."""
        return {"stem": r"^patch_embed", "blocks": r"^stages\.(\d+)"}

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that take no weight decay besides biases and norms: none, for there are no position embeddings."""
        return set()


def warn_constant_attention(config: PVTV2Config) -> None:
    """Warns when a stage has a single key at `config.img_size`: softmax of one number is 1 whatever the query."""
    stages = [i for i, grid in enumerate(config.key_grids(*config.image_shape), 1) if grid == (1, 1)]
    if stages:
        h, w = config.image_shape
        warn(
            f"at {h}×{w} pixels stage{'s' if len(stages) > 1 else ''} {', '.join(map(str, stages))} of this PVT_V2 "
            f"ha{'ve' if len(stages) > 1 else 's'} a 1×1 grid of keys: attention there is constant and the queries get no gradient; "
            "use larger images, smaller sr_ratios or strides, or the preset pvt_v2_tiny for small images"
        )
