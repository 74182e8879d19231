"""Checkpoints of PVT v2: every project's names, files, configurations and the hub; reading and writing."""

from minigrad.interop.hub import PRETRAINED, HubError
from minigrad.interop.layouts import detect_layout, from_native, to_native
from minigrad.models.checkpoints.loading import from_pretrained, load_weights
from minigrad.models.checkpoints.saving import save_pretrained

__all__ = [
    "PRETRAINED", "HubError", "detect_layout", "from_native", "from_pretrained", "load_weights", "save_pretrained", "to_native",
]  # fmt: skip
