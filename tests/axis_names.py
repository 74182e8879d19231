"""numpy's names of parameters that PyTorch's functions take beside their own, and a call of each function that has a dimension.

tests/parity/test_axis_names.py compares the list with what PyTorch takes; tests/test_functions.py calls minigrad's functions.
"""

# The arguments after the tensor (2, 3); nested lists stand for tensors.
CALLS: dict[str, dict] = {
    **{name: {"dim": 1, "keepdim": True} for name in ("all", "amax", "amin", "any", "argmax", "argmin", "max", "min")},
    **{name: {"dim": 1, "keepdim": True} for name in ("sum", "mean", "var", "std", "prod", "logsumexp")},
    **{name: {"dim": 1} for name in ("cumsum", "softmax", "log_softmax", "unbind", "squeeze", "unsqueeze")},
    **{name: {"dim": 1} for name in ("cat", "concat", "stack")},
    "chunk": {"chunks": 2, "dim": 1},
    "split": {"split_size_or_sections": 2, "dim": 1},
    "flip": {"dims": (1,)},
    "roll": {"shifts": 1, "dims": 1},
    "permute": {"dims": (1, 0)},
    "unflatten": {"dim": 1, "sizes": (1, 3)},
    "narrow": {"dim": 1, "start": 1, "length": 2},
    "select": {"dim": 1, "index": 1},
    "index_select": {"dim": 1, "index": [0, 2]},
    "gather": {"dim": 1, "index": [[0], [2]]},
    "take_along_dim": {"indices": [[0], [2]], "dim": 1},
    "scatter_add": {"dim": 1, "index": [[0], [2]], "src": [[1.0], [2.0]]},
    "index_add": {"dim": 1, "index": [1], "source": [[1.0], [2.0]]},
}
# What PyTorch takes, as a function or as a method.
NAMES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("all", "amax", "amin", "any", "argmax", "argmin", "max", "min"), ("axis", "keepdims")),
    **dict.fromkeys(("sum", "mean", "var", "std", "prod", "logsumexp"), ("axis", "keepdims")),
    **dict.fromkeys(("cumsum", "softmax", "log_softmax", "unbind", "squeeze", "unsqueeze"), ("axis",)),
    **dict.fromkeys(("cat", "concat", "stack", "chunk", "unflatten", "narrow", "select", "index_select"), ("axis",)),
    **dict.fromkeys(("gather", "take_along_dim", "scatter_add", "index_add"), ("axis",)),
}
