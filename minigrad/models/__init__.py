"""Pyramid Vision Transformer v2: configuration, model, named variants, and checkpoints of other projects."""

from typing import TYPE_CHECKING

from minigrad.models.checkpoints import PRETRAINED, HubError, from_pretrained, load_weights, save_pretrained
from minigrad.models.factory import (
    create_model,
    list_models,
    pvt_v2_b0,
    pvt_v2_b1,
    pvt_v2_b2,
    pvt_v2_b2_li,
    pvt_v2_b3,
    pvt_v2_b4,
    pvt_v2_b5,
    pvt_v2_tiny,
)  # fmt: skip
from minigrad.models.outputs import BackboneOutput, BaseModelOutput, ImageClassifierOutput, SemanticSegmenterOutput
from minigrad.models.pvt_v2.backbone import FeatureListNet, PVTV2Backbone, PVTV2Model
from minigrad.models.pvt_v2.config import PVTV2Config
from minigrad.models.pvt_v2.model import PVT_V2
from minigrad.models.segmentation import MLPSegmenter, SemanticFPN

if TYPE_CHECKING:
    from minigrad.data.images.processor import ImageProcessor

__all__ = [
    "PRETRAINED", "BackboneOutput", "BaseModelOutput", "FeatureListNet", "HubError", "ImageClassifierOutput", "PVTV2Backbone",
    "PVTV2Config", "PVTV2Model", "PVT_V2", "create_model", "from_pretrained", "list_models", "load_weights", "pvt_v2_b0",
    "pvt_v2_b1", "pvt_v2_b2", "pvt_v2_b2_li", "pvt_v2_b3", "pvt_v2_b4", "pvt_v2_b5", "pvt_v2_tiny", "save_pretrained",
]  # fmt: skip
__all__ += ["ImageProcessor", "MLPSegmenter", "SemanticFPN", "SemanticSegmenterOutput"]


def __getattr__(name: str):
    """`ImageProcessor` needs Pillow, which is imported when it is first used."""
    if name == "ImageProcessor":
        from minigrad.data.images.processor import ImageProcessor

        return ImageProcessor
    raise AttributeError(f"module 'minigrad.models' has no attribute {name!r}")
