"""Gradient clipping under the names that PyTorch has in `nn.utils`."""

from minigrad.optim.clip import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_"]
