"""Looking at models, at what autograd records and at trainings: tables and pictures.

Nothing is imported until it is used, and the pictures of a training run need matplotlib: `pip install 'minigrad[plots]'`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minigrad.visual.attention import attention_overlay, feature_pyramid
    from minigrad.visual.model_graph import ModuleGraph, module_graph
    from minigrad.visual.model_summary import Summary, summary
    from minigrad.visual.pictures import confusion_matrix, prediction_grid, training_curves
    from minigrad.visual.tape_graph import AutogradGraph, autograd_graph
    from minigrad.visual.training_memory import TrainingMemory

_HOMES = {
    "module_graph": "model_graph",
    "ModuleGraph": "model_graph",
    "autograd_graph": "tape_graph",
    "AutogradGraph": "tape_graph",
    "summary": "model_summary",
    "Summary": "model_summary",
    "TrainingMemory": "training_memory",
    "attention_overlay": "attention",
    "feature_pyramid": "attention",
    "training_curves": "pictures",
    "confusion_matrix": "pictures",
    "prediction_grid": "pictures",
}
__all__ = [
    "AutogradGraph", "ModuleGraph", "Summary", "TrainingMemory", "attention_overlay", "autograd_graph", "confusion_matrix",
    "feature_pyramid", "module_graph", "prediction_grid", "summary", "training_curves",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'minigrad.visual' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"minigrad.visual.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
