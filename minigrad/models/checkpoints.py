"""Tensor names of other projects' PVT v2 checkpoints, changed to ours (timm's layout) and back.

Lucid's names are the original's. Hugging Face keeps keys and values apart where the others have one `kv` matrix: keys
first, values second, so loading joins the rows.
"""

import re
from collections.abc import Mapping

import numpy as np

from minigrad import serialize
from minigrad.models.pvt_v2 import PVT_V2
from minigrad.tensor import Tensor

_HF_BLOCK = {"layer_norm_1": "norm1", "layer_norm_2": "norm2"}
_HF_ATTENTION = {
    "query": "q",
    "spatial_reduction": "sr",
    "layer_norm": "norm",
    "key": "key",
    "value": "value",
    "proj": "proj",
}
_HF_MLP = {"dense1": "fc1", "dense2": "fc2", "dwconv.dwconv": "dwconv"}


def detect_layout(names) -> str:
    """ "timm", "original" or "hf", by the names of the tensors.

    Raises:
        ValueError: when they are none of these.
    """
    names = list(names)
    if any(n.startswith("stages.") for n in names):
        return "timm"
    if any(n.startswith("block1.") for n in names):
        return "original"
    if any("encoder.layers." in n for n in names):
        return "hf"
    shown = ", ".join(sorted(names)[:3])
    raise ValueError(
        f"these are no PVT v2 weights: expected names such as stages.0.…, block1.0.… or encoder.layers.0.…, got {shown} …"
    )


def _from_original(name: str) -> str:
    if m := re.fullmatch(r"patch_embed(\d+)\.(.+)", name):
        stage = int(m[1]) - 1
        return f"stages.{stage}.downsample.{m[2]}" if stage else f"patch_embed.{m[2]}"
    if m := re.fullmatch(r"block(\d+)\.(\d+)\.(.+)", name):
        return f"stages.{int(m[1]) - 1}.blocks.{m[2]}.{m[3].replace('mlp.dwconv.dwconv', 'mlp.dwconv')}"
    if m := re.fullmatch(r"norm(\d+)\.(.+)", name):
        return f"stages.{int(m[1]) - 1}.norm.{m[2]}"
    return name


def _from_hf(name: str) -> str:
    if name.startswith("classifier."):
        return "head." + name.removeprefix("classifier.")
    m = re.fullmatch(r"(?:pvt_v2\.)?encoder\.layers\.(\d+)\.(.+)", name)
    if not m:
        return name
    stage, rest = m[1], m[2]
    if rest.startswith("patch_embedding."):
        rest = rest.removeprefix("patch_embedding.").replace("layer_norm", "norm")
        return f"patch_embed.{rest}" if stage == "0" else f"stages.{stage}.downsample.{rest}"
    if rest.startswith("layer_norm."):
        return f"stages.{stage}.norm.{rest.removeprefix('layer_norm.')}"
    m = re.fullmatch(r"blocks\.(\d+)\.(?:(attention|mlp)\.)?(.+)\.(weight|bias)", rest)
    if not m:
        return name
    block, part, layer, kind = m.groups()
    table = {"attention": _HF_ATTENTION, "mlp": _HF_MLP}.get(part, _HF_BLOCK)
    prefix = {"attention": "attn.", "mlp": "mlp."}.get(part, "")
    return f"stages.{stage}.blocks.{block}.{prefix}{table.get(layer, layer)}.{kind}"


def to_native(state: Mapping[str, np.ndarray], layout: str | None = None) -> dict[str, np.ndarray]:
    """A checkpoint's arrays under our names. `layout`: "timm", "original" (also Lucid's), "hf", or None to detect it."""
    layout = layout or detect_layout(state)
    if layout not in ("timm", "original", "hf"):
        raise ValueError(f"layout is 'timm', 'original' or 'hf', not {layout!r}")
    if layout == "timm":
        return dict(state)
    if layout == "original":
        return {_from_original(name): value for name, value in state.items()}
    renamed = {_from_hf(name): value for name, value in state.items()}
    for name in [n for n in renamed if ".attn.key." in n]:
        value = renamed.pop(name.replace(".attn.key.", ".attn.value."), None)
        if value is None:
            raise ValueError(f"the checkpoint has {name} but not the value beside it")
        renamed[name.replace(".attn.key.", ".attn.kv.")] = np.concatenate([renamed.pop(name), value])
    return renamed


def load_weights(model: PVT_V2, path, layout: str | None = None, strict: bool = True):
    """Loads a safetensors file in any known layout into a model, cast to the model's dtype.

    Raises:
        ValueError: listing every missing, unexpected and mis-shaped tensor.
        CheckpointError: when the file is no intact safetensors file.
    """
    arrays, _ = serialize.load_arrays(path)
    own = model.state_dict()
    state = {k: Tensor(v, dtype=own[k].dtype if k in own else None) for k, v in to_native(arrays, layout).items()}
    return model.load_state_dict(state, strict=strict)
