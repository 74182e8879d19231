"""The named variants: a table."""

from minigrad.models.pvt_v2.config import PVTV2Config

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
