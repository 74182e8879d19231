"""Models by name: `create_model`, and a function for each variant."""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from os import PathLike
from typing import Any, Literal, Protocol, overload

from minigrad import checks
from minigrad.models.checkpoints import PRETRAINED, from_pretrained, load_weights
from minigrad.models.pvt_v2.backbone import FeatureListNet, PVTV2Model
from minigrad.models.pvt_v2.model import PVT_V2
from minigrad.models.pvt_v2.variants import VARIANTS, variant_config

ALIASES = {"in_chans": "in_channels", "proj_drop_rate": "drop_rate"}  # timm's names


@overload
def create_model(
    name: str, pretrained: bool = False, *, checkpoint_path: str | PathLike | None = None,
    features_only: Literal[False] = False, out_indices: None = None, **fields: Any,
) -> PVT_V2: ...  # fmt: skip


@overload
def create_model(
    name: str, pretrained: bool = False, *, checkpoint_path: str | PathLike | None = None,
    features_only: Literal[True], out_indices: int | Sequence[int] | None = None, **fields: Any,
) -> FeatureListNet: ...  # fmt: skip


@overload
def create_model(
    name: str, pretrained: bool = False, *, checkpoint_path: str | PathLike | None = None,
    features_only: bool = False, out_indices: int | Sequence[int] | None = None, **fields: Any,
) -> PVT_V2 | FeatureListNet: ...  # fmt: skip


def create_model(
    name: str,
    pretrained: bool = False,
    *,
    checkpoint_path: str | PathLike | None = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    **fields: Any,
) -> PVT_V2 | FeatureListNet:
    """A named variant, as a `PVT_V2`, or as a `FeatureListNet` that gives the maps of its stages.

    Args:
        name: one of `list_models()`; timm's tag ".in1k" may follow.
        pretrained: load the weights trained on ImageNet-1k (from the Hugging Face hub or its cache): Hugging Face's
            conversion, or, with the tag, timm's, which has the original's ε. Another number of classes or image channels is
            taken into account as `from_pretrained` says. The model is then in evaluation mode.
        checkpoint_path: load these weights, in any known layout, into the model as it has been asked for.
        features_only: give a model without classifier whose forward lists the maps of the stages in `out_indices`.
        out_indices: positions of these stages from 0 (negative ones count from the end), the last n if a number, or None
            for all.
        fields: fields of `PVTV2Config`, except those that are None; `in_chans` and `proj_drop_rate` are timm's names of
            `in_channels` and `drop_rate` (timm's `drop_rate`, the classifier's, is `head_drop_rate` here). Also `cache_dir`,
            `revision` and `local_files_only`, which `from_pretrained` takes.

    >>> from minigrad import models
    >>> models.create_model("pvt_v2_b0", num_classes=10).get_classifier()
    Linear(in_features=256, out_features=10, bias=True)
    >>> models.create_model("pvt_v2_b0", features_only=True, out_indices=(1, 3)).feature_info.channels()
    [64, 256]

    Raises:
        ValueError: when there is no such variant, field or stage, or no pretrained weights.
    """
    if not isinstance(name, str):
        raise TypeError(f"create_model takes the name of a model, such as 'pvt_v2_b0', got {type(name).__name__}")
    tagged, name = name, name.removesuffix(".in1k")
    fields = {ALIASES.get(key, key): value for key, value in fields.items() if value is not None}
    if out_indices is not None and not features_only:
        raise ValueError("out_indices says which stages' maps to list; give features_only=True with it")
    if features_only:
        fields["num_classes"] = 0
    of_the_hub = {key: fields.pop(key) for key in ("cache_dir", "revision", "local_files_only") if key in fields}
    config = variant_config(name, **fields)  # tells a wrong name or field before anything is downloaded
    model_class: Any = PVTV2Model if features_only else PVT_V2
    if pretrained:
        if tagged not in PRETRAINED:
            raise ValueError(f"there are no pretrained weights for {tagged!r}; there are for {', '.join(PRETRAINED)}")
        model = from_pretrained(PRETRAINED[tagged], model_class=model_class, **of_the_hub, **fields)
    else:
        model = model_class(config)
    if checkpoint_path is not None:
        load_weights(model, checkpoint_path)
    return FeatureListNet(model, out_indices) if features_only else model


def list_models(
    filter: str | Iterable[str] | None = "", pretrained: bool = False, exclude_filters: str | Iterable[str] | None = ""
) -> list[str]:
    """The names that `create_model` knows.

    Args:
        filter: a pattern with the wildcards * ? [abc], or several: names that match any of them; all when empty or None.
        pretrained: only those with pretrained weights.
        exclude_filters: patterns of names to leave out.

    >>> from minigrad import models
    >>> models.list_models("pvt_v2_b2*"), models.list_models(["*b0", "*b1"], exclude_filters="*1")
    (['pvt_v2_b2', 'pvt_v2_b2_li'], ['pvt_v2_b0'])
    """
    for parameter, given in (("filter", filter), ("exclude_filters", exclude_filters)):
        if given is not None and not isinstance(given, str):
            checks.entries("list_models", parameter, given, "a pattern, a list of patterns or None", str)
    include, exclude = ([f] if isinstance(f, str) else [] if f is None else list(f) for f in (filter, exclude_filters))
    names = [n for n in VARIANTS if not any(include) or any(fnmatchcase(n, f) for f in include)]
    names = [n for n in names if not any(fnmatchcase(n, f) for f in exclude)]
    if pretrained:
        names = [n for n in names if n in PRETRAINED]
    return names


class Variant(Protocol):
    """How a variant's factory is called: as `create_model`, without the name."""

    @overload
    def __call__(self, pretrained: bool = False, *, features_only: Literal[True], **fields: Any) -> FeatureListNet: ...

    @overload
    def __call__(self, pretrained: bool = False, **fields: Any) -> PVT_V2: ...


def variant(function: Callable[..., Any]) -> Variant:
    """The function itself, with its types."""
    return function


@variant
def pvt_v2_b0(pretrained: bool = False, **fields):
    """PVTv2-B0: 3.7 M parameters, 0.57 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b0", pretrained, **fields)


@variant
def pvt_v2_b1(pretrained: bool = False, **fields):
    """PVTv2-B1: 14.0 M parameters, 2.1 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b1", pretrained, **fields)


@variant
def pvt_v2_b2(pretrained: bool = False, **fields):
    """PVTv2-B2: 25.4 M parameters, 4.0 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b2", pretrained, **fields)


@variant
def pvt_v2_b2_li(pretrained: bool = False, **fields):
    """PVTv2-B2 with linear attention: 22.6 M parameters, 3.9 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b2_li", pretrained, **fields)


@variant
def pvt_v2_b3(pretrained: bool = False, **fields):
    """PVTv2-B3: 45.2 M parameters, 6.9 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b3", pretrained, **fields)


@variant
def pvt_v2_b4(pretrained: bool = False, **fields):
    """PVTv2-B4: 62.6 M parameters, 10.1 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b4", pretrained, **fields)


@variant
def pvt_v2_b5(pretrained: bool = False, **fields):
    """PVTv2-B5: 82.0 M parameters, 11.7 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b5", pretrained, **fields)


@variant
def pvt_v2_tiny(pretrained: bool = False, **fields):
    """A preset for images of 32 pixels and thereabouts: four narrow stages, spatial reduction only where a grid of several
    keys remains, and no halving before the last stage. 0.4 M parameters."""
    return create_model("pvt_v2_tiny", pretrained, **fields)
