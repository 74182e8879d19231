"""What the tests of checkpoints share: small models with every parameter random, and files of them."""

import json
import warnings

import numpy as np
import pth
from safetensors.numpy import save_file

import minigrad as mg
from minigrad import models
from minigrad.interop import from_native

SMALL = dict(img_size=64, num_classes=5, embed_dims=(8, 16, 20, 24), num_heads=(1, 2, 5, 3), mlp_ratios=(3, 2, 2, 2), depths=(1, 2, 1, 1),
             sr_ratios=(2, 2, 2, 1), qkv_bias=True)  # fmt: skip


def randomised(config=None, kind=models.PVT_V2, **fields):
    """A model in eval mode whose every parameter is random, biases and norms too."""
    model = kind(config or models.PVTV2Config(**{**SMALL, **fields}))
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.data = mg.tensor((p.numpy() + 0.1 * rng.standard_normal(p.shape)).astype(np.float32)).array
    return model.eval()


def arrays_of(model, layout="timm"):
    return from_native({name: t.numpy() for name, t in model.state_dict().items()}, layout)


def same(a, b):
    """Whether two models have equal weights and equal configurations."""
    x, y = arrays_of(a), arrays_of(b)
    return x.keys() == y.keys() and all(np.array_equal(x[n], y[n]) for n in x) and a.config == b.config


def quietly(call, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **options)


def sharded(folder, state, name="model.safetensors", count=3):
    """Files of tensors with an index, as transformers writes them."""
    stem, ending = name.rsplit(".", 1)
    table = {}
    for i in range(count):
        part = dict(list(state.items())[i::count])
        file = f"{stem}-{i + 1:05}-of-{count:05}.{ending}"
        table |= dict.fromkeys(part, file)
        save_file(part, folder / file, {"format": "pt"}) if ending == "safetensors" else pth.write_state(
            folder / file, part
        )
    index = {"metadata": {"total_size": sum(a.nbytes for a in state.values())}, "weight_map": table}
    (folder / f"{name}.index.json").write_text(json.dumps(index))
    return folder / f"{name}.index.json", index
