"""The named variants: a table, and one factory each."""

from minigrad.models.config import PVTV2Config
from minigrad.models.pvt_v2 import PVT_V2

_B1 = dict(embed_dims=(64, 128, 320, 512), depths=(2, 2, 2, 2))
_B2 = dict(embed_dims=(64, 128, 320, 512), depths=(3, 4, 6, 3))
PUBLISHED = dict(num_heads=(1, 2, 5, 8), mlp_ratios=(8, 8, 4, 4), qkv_bias=True)
VARIANTS: dict[str, dict] = {
    "pvt_v2_b0": {**PUBLISHED, "embed_dims": (32, 64, 160, 256), "depths": (2, 2, 2, 2)},
    "pvt_v2_b1": {**PUBLISHED, **_B1},
    "pvt_v2_b2": {**PUBLISHED, **_B2},
    "pvt_v2_b2_li": {**PUBLISHED, **_B2, "linear": True},
    "pvt_v2_b3": {**PUBLISHED, **_B2, "depths": (3, 4, 18, 3)},
    "pvt_v2_b4": {**PUBLISHED, **_B2, "depths": (3, 8, 27, 3)},
    "pvt_v2_b5": {**PUBLISHED, **_B2, "depths": (3, 6, 40, 3), "mlp_ratios": (4, 4, 4, 4)},
    "pvt_v2_tiny": dict(
        img_size=32,
        embed_dims=(16, 32, 64, 128),
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 4, 8),
        mlp_ratios=(4, 4, 4, 4),
        qkv_bias=True,
        sr_ratios=(2, 1, 1, 1),
        strides=(4, 2, 2, 1),
    ),  # fmt: skip
}


def variant_config(name: str, **fields) -> PVTV2Config:
    """The configuration of a named variant, with some fields changed.

    Raises:
        ValueError: when there is no such variant or field.
    """
    if name not in VARIANTS:
        raise ValueError(f"there is no model {name!r}; choose one of {', '.join(VARIANTS)}")
    return PVTV2Config.from_dict({**VARIANTS[name], **fields})


def create_model(name: str, **fields) -> PVT_V2:
    """A named variant with random weights; fields of `PVTV2Config` may be changed: `create_model("pvt_v2_b0", num_classes=10)`."""
    return PVT_V2(variant_config(name, **fields))


def list_models() -> list[str]:
    """The names that `create_model` knows."""
    return list(VARIANTS)


def pvt_v2_b0(**fields) -> PVT_V2:
    """PVTv2-B0: 3.7 M parameters, 0.57 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b0", **fields)


def pvt_v2_b1(**fields) -> PVT_V2:
    """PVTv2-B1: 14.0 M parameters, 2.1 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b1", **fields)


def pvt_v2_b2(**fields) -> PVT_V2:
    """PVTv2-B2: 25.4 M parameters, 4.0 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b2", **fields)


def pvt_v2_b2_li(**fields) -> PVT_V2:
    """PVTv2-B2 with linear attention: 22.6 M parameters, 3.9 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b2_li", **fields)


def pvt_v2_b3(**fields) -> PVT_V2:
    """PVTv2-B3: 45.2 M parameters, 6.9 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b3", **fields)


def pvt_v2_b4(**fields) -> PVT_V2:
    """PVTv2-B4: 62.6 M parameters, 10.1 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b4", **fields)


def pvt_v2_b5(**fields) -> PVT_V2:
    """PVTv2-B5: 82.0 M parameters, 11.7 G multiply-adds at 224×224."""
    return create_model("pvt_v2_b5", **fields)


def pvt_v2_tiny(**fields) -> PVT_V2:
    """A preset for images of 32 pixels and thereabouts: four narrow stages, spatial reduction only where a grid of several
    keys remains, and no halving before the last stage. 0.4 M parameters."""
    return create_model("pvt_v2_tiny", **fields)
