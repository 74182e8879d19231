"""Tensor names of other projects' PVT v2 checkpoints, changed to ours (timm's layout) and back.

Lucid's names are the original's. Hugging Face keeps keys and values apart where the others have one `kv` matrix: keys
first, values second, so loading joins the rows and saving divides them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from minigrad.checks import told
from minigrad.serialize import CheckpointError

LAYOUTS = ("timm", "original", "hf")
Array = TypeVar("Array", bound=Any)  # numpy's, or a tensor

# Names within a block: ours, Hugging Face's.
_BLOCK = {
    "norm1": "layer_norm_1",
    "norm2": "layer_norm_2",
    "attn.q": "attention.query",
    "attn.key": "attention.key",  # until keys and values are joined
    "attn.value": "attention.value",
    "attn.proj": "attention.proj",
    "attn.sr": "attention.spatial_reduction",
    "attn.norm": "attention.layer_norm",
    "mlp.fc1": "mlp.dense1",
    "mlp.dwconv": "mlp.dwconv.dwconv",
    "mlp.fc2": "mlp.dense2",
}
_BLOCK_FROM_HF = {theirs: ours for ours, theirs in _BLOCK.items()}
_NATIVE = re.compile(r"(?:(patch_embed)|stages\.([0-9]{1,4})\.(?:(downsample)|(norm)|blocks\.([0-9]{1,6})))\.(.+)")


def shown(name: str) -> str:
    """A name from a file as an error can show it: short, and without what changes a terminal."""
    return name[:80] if name[:80].isprintable() else ascii(name[:80])


def detect_layout(names: Iterable[str]) -> str:
    """ "timm" (minigrad's, too), "original" (Lucid's, too) or "hf", by the names of the tensors.

    Raises:
        CheckpointError: when they are none of these.
    """
    names = list(names)
    if any(n.startswith("stages.") for n in names):
        return "timm"
    if any(n.startswith("block1.") for n in names):
        return "original"
    if any(n.startswith(("encoder.layers.", "pvt_v2.encoder.layers.")) for n in names):
        return "hf"
    found = ", ".join(map(shown, sorted(names)[:3])) or "none"
    raise CheckpointError(
        f"these are no PVT v2 weights: expected names such as stages.0.…, block1.0.… or encoder.layers.0.…, got {found} …"
    )


def check_layout(layout: str) -> str:
    """`layout` itself.

    Raises:
        ValueError: when it is none of `LAYOUTS`.
    """
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ValueError(f"layout is 'timm', 'original' or 'hf', not {told(layout)}")
    return layout


def _from_original(name: str) -> str:
    if m := re.fullmatch(r"patch_embed([1-9][0-9]{0,3})\.(.+)", name):
        stage = int(m[1]) - 1
        return f"stages.{stage}.downsample.{m[2]}" if stage else f"patch_embed.{m[2]}"
    if m := re.fullmatch(r"block([1-9][0-9]{0,3})\.([0-9]{1,6})\.(.+)", name):
        return f"stages.{int(m[1]) - 1}.blocks.{m[2]}.{m[3].replace('mlp.dwconv.dwconv', 'mlp.dwconv')}"
    if m := re.fullmatch(r"norm([1-9][0-9]{0,3})\.(.+)", name):
        return f"stages.{int(m[1]) - 1}.norm.{m[2]}"
    return name


def _to_original(name: str) -> str:
    m = _NATIVE.fullmatch(name)
    if not m:
        return name
    stem, stage, downsample, norm, block, rest = m.groups()
    number = 1 if stem else int(stage) + 1
    if stem or downsample:
        return f"patch_embed{number}.{rest}"
    if norm:
        return f"norm{number}.{rest}"
    return f"block{number}.{block}.{rest.replace('mlp.dwconv', 'mlp.dwconv.dwconv')}"


def _from_hf(name: str) -> str:
    if name.startswith("classifier."):
        return "head." + name.removeprefix("classifier.")
    m = re.fullmatch(r"(?:pvt_v2\.)?encoder\.layers\.([0-9]{1,4})\.(.+)", name)
    if not m:
        return name
    stage, rest = m[1], m[2]
    if rest.startswith("patch_embedding."):
        rest = rest.removeprefix("patch_embedding.").replace("layer_norm", "norm")
        return f"patch_embed.{rest}" if stage == "0" else f"stages.{stage}.downsample.{rest}"
    if rest.startswith("layer_norm."):
        return f"stages.{stage}.norm.{rest.removeprefix('layer_norm.')}"
    m = re.fullmatch(r"blocks\.([0-9]{1,6})\.(.+)\.(weight|bias)", rest)
    if not m or m[2] not in _BLOCK_FROM_HF:
        return name
    return f"stages.{stage}.blocks.{m[1]}.{_BLOCK_FROM_HF[m[2]]}.{m[3]}"


def _to_hf(name: str, prefix: str) -> str:
    if name.startswith("head."):
        return "classifier." + name.removeprefix("head.")
    m = _NATIVE.fullmatch(name)
    if not m:
        return name
    stem, stage, downsample, norm, block, rest = m.groups()
    base = f"{prefix}encoder.layers.{0 if stem else stage}."
    if stem or downsample:
        return f"{base}patch_embedding.{rest.replace('norm', 'layer_norm')}"
    if norm:
        return f"{base}layer_norm.{rest}"
    layer, _, kind = rest.rpartition(".")
    return f"{base}blocks.{block}.{_BLOCK.get(layer, layer)}.{kind}"


def to_native(state: Mapping[str, np.ndarray], layout: str | None = None) -> dict[str, np.ndarray]:
    """A checkpoint's arrays under our names. `layout`: "timm", "original" (also Lucid's), "hf", or None to detect it.

    Raises:
        CheckpointError: when the layout can't be detected, two names become one, or a key or value is alone.
    """
    layout = check_layout(layout) if layout is not None else detect_layout(state)
    if layout == "timm":
        return dict(state)
    rename = _from_original if layout == "original" else _from_hf
    renamed: dict[str, np.ndarray] = {}
    for name, value in state.items():
        if renamed.setdefault(rename(name), value) is not value:
            raise CheckpointError(f"the checkpoint has {shown(rename(name))} twice, once as {shown(name)}")
    for name in [n for n in renamed if ".attn.key." in n or ".attn.value." in n]:
        if name not in renamed:  # joined already
            continue
        pair = [name.replace(".attn.value.", ".attn.key."), name.replace(".attn.key.", ".attn.value.")]
        if not all(one in renamed for one in pair):
            raise CheckpointError(
                f"the checkpoint has {shown(name)} but not the {'key' if name == pair[1] else 'value'} beside it"
            )
        parts = [renamed.pop(one) for one in pair]
        if parts[0].shape != parts[1].shape or not parts[0].ndim:
            raise CheckpointError(
                f"{shown(pair[0])} has shape {parts[0].shape}, but the value beside it {parts[1].shape}"
            )
        renamed[pair[0].replace(".attn.key.", ".attn.kv.")] = np.concatenate(parts)
    return renamed


def from_native(state: Mapping[str, Array], layout: str) -> dict[str, Array]:
    """Our arrays or tensors under the names of `layout`: "timm", "original" or "hf".

    Hugging Face's classifier has its encoder under `pvt_v2.`; its bare encoder has no prefix. Which it is, the presence of
    `head.weight` says.
    """
    check_layout(layout)
    if layout == "timm":
        return dict(state)
    if layout == "original":
        return {_to_original(name): value for name, value in state.items()}
    prefix = "pvt_v2." if "head.weight" in state else ""
    out: dict[str, Array] = {}
    for name, value in state.items():
        if ".attn.kv." in name:
            middle = len(value) // 2
            for part, half in (("key", value[:middle]), ("value", value[middle:])):
                out[_to_hf(name.replace(".attn.kv.", f".attn.{part}."), prefix)] = half
        else:
            out[_to_hf(name, prefix)] = value
    return out
