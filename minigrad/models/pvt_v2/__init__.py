"""Pyramid Vision Transformer v2: configuration, blocks, models and the table of named variants."""

from minigrad.models.pvt_v2.backbone import FeatureListNet, PVTV2Backbone, PVTV2Model
from minigrad.models.pvt_v2.config import PVTV2Config
from minigrad.models.pvt_v2.model import PVT_V2

__all__ = ["PVT_V2", "FeatureListNet", "PVTV2Backbone", "PVTV2Config", "PVTV2Model"]
