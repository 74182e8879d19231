"""Gradient clipping under the names that PyTorch has in `nn.utils`, and looking at a model without training it."""

from collections.abc import Iterator
from contextlib import contextmanager

from minigrad import checks
from minigrad.autograd import no_grad
from minigrad.nn.module import Module
from minigrad.optim.clip import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "evaluation"]


@contextmanager
def evaluation(model: Module) -> Iterator[None]:
    """Evaluation mode without a tape; afterwards every module gets its own mode back.

    >>> from minigrad import nn
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5).eval())
    >>> with nn.utils.evaluation(model):
    ...     model.training
    False
    >>> model.training, model[1].training
    (True, False)
    """
    checks.instance("evaluation", "model", model, Module, "a module")
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
