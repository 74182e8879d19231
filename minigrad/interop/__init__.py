"""Other projects' files and names: the layouts of checkpoints, PyTorch's `.pth`, the Hugging Face hub, what is written down about
pictures. Nothing here knows a model: `minigrad.models.checkpoints` makes models of what is read."""

from minigrad.interop.hub import PRETRAINED, HubError
from minigrad.interop.layouts import detect_layout, from_native, to_native
from minigrad.interop.reading import load

__all__ = ["PRETRAINED", "HubError", "detect_layout", "from_native", "load", "to_native"]
