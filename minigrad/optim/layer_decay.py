"""Learning rates that fall from a model's head to its stem, for fine-tuning."""

import re
from collections.abc import Collection

from minigrad import checks


def param_groups_layer_decay(
    model,
    lr: float,
    weight_decay: float = 0.05,
    no_weight_decay_list: Collection[str] = (),
    layer_decay: float = 0.75,
    min_scale: float = 0.0,
) -> list[dict[str, object]]:
    """Parameter groups with the learning rate lr·max(layer_decay^(number of layers above), min_scale).

    The layers are those of `model.group_matcher()`: regular expressions whose captured numbers count layers; parameters that
    none matches, the classifier's, form the last layer, with the whole lr. Only parameters of two dimensions and more, and
    not in `no_weight_decay_list` or `model.no_weight_decay()`, get weight decay. Clark et al. 2020, arXiv 2003.10555; Bao et al.
    2021, arXiv 2106.08254.

    >>> import minigrad as mg
    >>> model = mg.models.pvt_v2_tiny(num_classes=10)
    >>> groups = mg.optim.param_groups_layer_decay(model, lr=1e-3, layer_decay=0.5)
    >>> sorted({group["lr"] for group in groups})
    [3.125e-05, 6.25e-05, 0.000125, 0.00025, 0.0005, 0.001]
    >>> optimizer = mg.optim.AdamW(groups)

    Raises:
        TypeError: when the model has no `group_matcher`.
    """
    if not hasattr(model, "group_matcher") or isinstance(model, type):
        raise TypeError(
            f"param_groups_layer_decay: {checks.kind(model)} has no group_matcher(), which says how deep a parameter lies"
        )
    who = "param_groups_layer_decay"
    numbers = (("lr", lr), ("weight_decay", weight_decay), ("layer_decay", layer_decay), ("min_scale", min_scale))
    for option, value in numbers:
        checks.number(who, option, value)
    checks.entries(who, "no_weight_decay_list", no_weight_decay_list, "a list of names", str)
    patterns = list(model.group_matcher(coarse=False).values())
    spared = {*no_weight_decay_list, *model.no_weight_decay()}
    parameters = dict(model.named_parameters())
    depths = {name: _depth(name, patterns) for name in parameters}  # frozen layers count
    order = {depth: i for i, depth in enumerate(sorted(set(depths.values())))}
    groups: dict[tuple, dict] = {}
    for name, p in parameters.items():
        if not p.requires_grad:
            continue
        layer, decays = order[depths[name]], p.ndim > 1 and name not in spared
        scale = max(layer_decay ** (len(order) - 1 - layer), min_scale)
        options = {"params": [], "lr": lr * scale, "lr_scale": scale, "weight_decay": weight_decay if decays else 0.0}
        groups.setdefault((layer, decays), options)["params"].append(p)
    return list(groups.values())


def _depth(name: str, patterns: list[str]) -> tuple[float, ...]:
    """(position of the pattern that matches, numbers that it captures); behind all of them when none does."""
    for i, pattern in enumerate(patterns):
        if m := re.match(pattern, name):
            return (i, *(float(n) for n in m.groups() if n is not None))
    return (len(patterns),)
