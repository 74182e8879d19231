"""PVT v2 without a classifier: the bare encoder, and the backbone that gives chosen stages' maps to a dense-prediction head."""

from collections.abc import Sequence

from minigrad import checks, nn
from minigrad.engine.tensor import Tensor
from minigrad.models.outputs import BackboneOutput, BaseModelOutput, Encodes, Value
from minigrad.models.pvt_v2.config import PVTV2Config
from minigrad.models.pvt_v2.encoder import PVTV2Encoder
from minigrad.models.pvt_v2.features import FeatureInfo, take_indices


class PVTV2Model(PVTV2Encoder):
    """The bare encoder: images → the last stage's normalised map.

    Args:
        config: a `PVTV2Config`; `num_classes` is without effect. Fields can be given as keywords.

    Shapes: (N, in_channels, H, W) → (N, C, H/32, W/32) with the default strides, rounded up.

    >>> import minigrad as mg
    >>> from minigrad import models
    >>> config = models.PVTV2Config(img_size=64, embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4), depths=(1, 1, 1, 1))
    >>> out = models.PVTV2Model(config)(mg.zeros(2, 3, 64, 64), output_hidden_states=True)
    >>> out.last_hidden_state.shape, [tuple(t.shape) for t in out.hidden_states][:2]
    ((2, 32, 2, 2), [(2, 8, 16, 16), (2, 16, 8, 8)])
    """

    __call__: Encodes[BaseModelOutput]

    def __init__(self, config: PVTV2Config | None = None, **fields) -> None:
        super().__init__(config, **fields)
        self._start()

    def forward(
        self,
        pixel_values: Tensor,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Value, ...]:
        """A `BaseModelOutput`, or a plain tuple of what isn't None when `return_dict` is False."""
        attentions: list | None = [] if output_attentions else None
        maps = self.stage_maps(pixel_values, attentions)
        out = BaseModelOutput(
            maps[-1],
            tuple(maps) if output_hidden_states else None,
            tuple(attentions) if attentions is not None else None,
        )
        return out.to_tuple() if return_dict is False else out


class PVTV2Backbone(PVTV2Encoder):
    """The encoder as a backbone: images → the maps of chosen stages.

    Args:
        config: a `PVTV2Config`; `num_classes` is without effect. Fields can be given as keywords.
        out_features: names of the stages whose maps are wanted, "stage1" … in this order.
        out_indices: the same as positions, from 0; negative ones count from the end. With neither, the last stage; with
            both, they must name the same stages.

    `channels` lists the channels of the maps, `stage_names` all names; `out_features` and `out_indices` can be assigned.

    Raises:
        ValueError: when a stage doesn't exist, comes twice or out of order, or the two don't agree.

    >>> import minigrad as mg
    >>> from minigrad import models
    >>> config = models.PVTV2Config(img_size=64, embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4), depths=(1, 1, 1, 1))
    >>> backbone = models.PVTV2Backbone(config, out_features=["stage2", "stage4"])
    >>> [tuple(t.shape) for t in backbone(mg.zeros(1, 3, 64, 96)).feature_maps], backbone.channels
    ([(1, 16, 8, 12), (1, 32, 2, 3)], [16, 32])
    """

    __call__: Encodes[BackboneOutput]

    def __init__(
        self,
        config: PVTV2Config | None = None,
        out_features: Sequence[str] | None = None,
        out_indices: Sequence[int] | None = None,
        **fields,
    ) -> None:
        super().__init__(config, **fields)
        self._out_features, self._out_indices = align_outputs(self.stage_names, out_features, out_indices)
        self._start()

    @property
    def stage_names(self) -> list[str]:
        """ "stage1", "stage2", …"""
        return [f"stage{i}" for i in range(1, self.config.num_stages + 1)]

    @property
    def out_features(self) -> list[str]:
        """Names of the stages whose maps are given; assigning them changes `out_indices` too."""
        return list(self._out_features)

    @out_features.setter
    def out_features(self, value: Sequence[str] | None) -> None:
        self._out_features, self._out_indices = align_outputs(self.stage_names, value, None)

    @property
    def out_indices(self) -> list[int]:
        """Positions of the stages whose maps are given; assigning them changes `out_features` too."""
        return list(self._out_indices)

    @out_indices.setter
    def out_indices(self, value: Sequence[int] | None) -> None:
        self._out_features, self._out_indices = align_outputs(self.stage_names, None, value)

    @property
    def num_features(self) -> list[int]:
        """Channels of every stage."""
        return list(self.config.embed_dims)

    @property
    def out_feature_channels(self) -> dict[str, int]:
        """Channels of every stage by its name."""
        return dict(zip(self.stage_names, self.config.embed_dims, strict=True))

    @property
    def channels(self) -> list[int]:
        """Channels of the maps that are given."""
        return [self.out_feature_channels[name] for name in self._out_features]

    def forward(
        self,
        pixel_values: Tensor,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool | None = None,
    ) -> BackboneOutput | tuple[Value, ...]:
        """A `BackboneOutput`, or a plain tuple of what isn't None when `return_dict` is False. Stages after the last one
        that is asked for are computed only when all hidden states or attention maps are wanted."""
        attentions: list | None = [] if output_attentions else None
        wanted = [self.stage_names.index(name) for name in self._out_features]
        count = None if output_attentions or output_hidden_states else wanted[-1] + 1
        maps = self.stage_maps(pixel_values, attentions, count)
        out = BackboneOutput(
            tuple(maps[i] for i in wanted),
            tuple(maps) if output_hidden_states else None,
            tuple(attentions) if attentions is not None else None,
        )
        return out.to_tuple() if return_dict is False else out


class FeatureListNet(PVTV2Encoder):
    """A model's stages, up to the last one that is wanted, with a forward that lists the maps: `create_model(…,
    features_only=True)`.

    Args:
        model: any model here; its modules are shared, not copied.
        out_indices: as in `forward_intermediates`; all stages when None.

    `feature_info.channels()` and `.reduction()` speak of the maps in the list.
    """

    def __init__(self, model: PVTV2Encoder, out_indices: int | Sequence[int] | None = None) -> None:
        nn.Module.__init__(self)
        checks.instance("FeatureListNet", "model", model, PVTV2Encoder, "a PVT v2", "as models.create_model makes it")
        self.out_indices = sorted(set(take_indices(len(model.stages), out_indices)))
        count = self.out_indices[-1] + 1
        self.config = model.config.first_stages(count).replace(num_classes=0)
        self.patch_embed, self.stages = model.patch_embed, model.stages[:count]

    @property
    def feature_info(self) -> FeatureInfo:
        """Channels, reduction and module of the maps in the list."""
        return FeatureInfo(self.config, self.out_indices)

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        """The maps, (N, C, H, W) each, from the largest to the smallest."""
        maps = self.stage_maps(pixel_values)
        return [maps[i] for i in self.out_indices]


def align_outputs(
    stage_names: list[str], out_features: Sequence[str] | None, out_indices: Sequence[int] | None
) -> tuple[list[str], list[int]]:
    """(names, positions) of a backbone's outputs by Hugging Face's rules: either gives the other; with neither, the last stage.

    >>> align_outputs(["stage1", "stage2", "stage3"], None, [0, -1])
    (['stage1', 'stage3'], [0, -1])

    Raises:
        ValueError: when a stage doesn't exist, comes twice or out of order, or the two don't agree.
    """
    count, known = len(stage_names), ", ".join(stage_names)
    for name, given in (("out_features", out_features), ("out_indices", out_indices)):
        if given is not None and not isinstance(given, list | tuple):
            raise ValueError(f"{name} must be a list, got {given!r}")
        if given is not None and not given:
            raise ValueError(f"{name} is empty; name at least one stage, or leave it out for the last")
    if out_features is not None:
        places = [stage_names.index(name) if name in stage_names else None for name in out_features]
        _check_order("out_features", out_features, places, f"the stages are {known}")
        if out_indices is None:
            return list(out_features), [stage_names.index(name) for name in out_features]
    if out_indices is not None:
        places = [i % count if isinstance(i, int) and -count <= i < count else None for i in out_indices]
        _check_order("out_indices", out_indices, places, f"positions run from 0 to {count - 1}, or from -{count} to -1")
        names = [stage_names[i] for i in out_indices]
        if out_features is not None and list(out_features) != names:
            raise ValueError(
                f"out_features {list(out_features)} and out_indices {list(out_indices)} name different stages; give one of them"
            )
        return names, list(out_indices)
    return [stage_names[-1]], [count - 1]


def _check_order(name: str, given: Sequence, places: list[int | None], known: str) -> None:
    found = [p for p in places if p is not None]
    if len(found) < len(places):
        raise ValueError(f"{name} {list(given)} asks for a stage that there isn't: {known}")
    if len(set(found)) < len(found):
        raise ValueError(f"{name} {list(given)} asks for a stage twice")
    if found != sorted(found):
        raise ValueError(f"{name} {list(given)} must be in the order of the stages: {known}")
