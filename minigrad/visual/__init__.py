"""Looking at models and at their training: tables and pictures.

Nothing is imported until it is used, and the pictures of a training run need matplotlib: `pip install 'minigrad[plots]'`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minigrad.visual.attention import attention_overlay, feature_pyramid
    from minigrad.visual.model_summary import Summary, summary
    from minigrad.visual.pictures import confusion_matrix, prediction_grid, training_curves

_HOMES = {
    "summary": "model_summary",
    "Summary": "model_summary",
    "attention_overlay": "attention",
    "feature_pyramid": "attention",
    "training_curves": "pictures",
    "confusion_matrix": "pictures",
    "prediction_grid": "pictures",
}
__all__ = [
    "Summary", "attention_overlay", "confusion_matrix", "feature_pyramid", "prediction_grid", "summary", "training_curves",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'minigrad.visual' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"minigrad.visual.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
