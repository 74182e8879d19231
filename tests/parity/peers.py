"""timm and transformers for the suites that compare with them; a suite is skipped where they are not installed."""

import sys

import pytest
import torch


def published(name: str):
    """The module `timm` or `transformers`."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        pass
    except RuntimeError:  # its compiled operators weren't built for this PyTorch; timm needs their names only
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        LIBRARIES.append(library)
        for module in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
    return pytest.importorskip(name)


LIBRARIES: list = []  # a library's definitions end with it
