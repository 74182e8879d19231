"""Every public callable is called with wrong types. It succeeds, or says in a sentence what is wrong.

The callables are those that the public modules show. Each parameter's name stands for a pool of right arguments; one or more are
replaced by what is of another type. A call may not end in an error that came from deep within (an AttributeError, say), nor, where
a tensor, module, function, sequence or path was expected, in one of Python's or numpy's own words ("object is not iterable").
"""

import importlib.util
import inspect
import os
import random
import re
import signal
import traceback
import types
import warnings
from collections import Counter
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, is_dataclass
from io import StringIO

import numpy as np
import pytest
from PIL import Image

import minigrad as mg
from minigrad import compiler, distributed, files, memory, serialize
from minigrad import random as generators
from minigrad.data import transforms
from minigrad.nn import functional as F
from minigrad.optim import lr_scheduler

SPACES = {
    "mg": mg, "F": F, "nn": mg.nn, "nn.init": mg.nn.init, "nn.utils": mg.nn.utils, "optim": mg.optim, "lr": lr_scheduler,
    "autograd": mg.autograd, "data": mg.data, "transforms": transforms, "models": mg.models, "visual": mg.visual,
    "training": mg.training, "serialize": serialize, "files": files, "random": generators, "distributed": distributed, "memory": memory,
    "compiler": compiler,
}  # fmt: skip

# What isn't called: what the engine alone makes; what a class inherits is called on one of its classes.
LEFT_OUT = {
    "autograd.Node", "autograd.Node.*", "autograd.Op.*", "nn.Module.*", "optim.Optimizer.*", "lr.LRScheduler.*",
    "data.Dataset.*", "autograd.GradcheckError", "models.HubError",
    "data.ImageError", "serialize.CheckpointError", "compiler.CompileError", "training.RunFolderError", "training.TrainingError",
    "compiler.Trace", "compiler.CompileInfo", "mg.CompileError", "visual.ModuleGraph", "visual.AutogradGraph", "visual.Summary",
    "visual.TrainingMemory", "distributed.PeerLost", "training.TrainingInterrupted", "training.TrainResult", "mg.DType",
    "random.Generator.device_uniform", "optim.SGD.update", "optim.Adam.update", "optim.AdamW.update", "optim.AdamW.slot",
}  # fmt: skip


# --- right arguments ----------------------------------------------------------------------------------------------------
_draws = random.Random()  # what the pools draw


def _x(*shape, dtype=None, requires_grad=False):
    values = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
    return mg.tensor(values, dtype=dtype, requires_grad=requires_grad)


def _net():
    return mg.nn.Sequential(mg.nn.Linear(3, 4), mg.nn.ReLU(), mg.nn.Linear(4, 2))


def _trained():
    """A module with gradients."""
    net = _net()
    net(_x(2, 3)).sum().backward()
    return net


def _model():
    with mg.nn.init.no_random():
        return mg.models.pvt_v2_tiny(num_classes=3, **SMALL)


def _backbone():
    with mg.nn.init.no_random():
        return mg.models.PVTV2Backbone(mg.models.PVTV2Config(**SMALL), out_indices=[0, 1, 2, 3])


def _optimizer():
    return _draws.choice([mg.optim.SGD, mg.optim.AdamW])(_trained().parameters(), lr=0.1)


def _dataset():
    return mg.data.ArrayDataset(np.zeros((6, 8, 8), np.uint8), [0, 1, 2, 0, 1, 2])


def _pictures():
    return np.random.default_rng(0).random((4, 1, 8, 8), np.float32)


def _first(*given, **_):
    return given[0] if given else None


def _number(*given, **_):
    return (given[0] * given[0]).sum() if given and isinstance(given[0], mg.Tensor) else mg.tensor(1.0)


def _classifier():
    return mg.training.Classifier(
        _model(), ["a", "b", "c"], mg.models.ImageProcessor(size=32), "cpu", "pvt_v2_tiny", {"num_classes": 3}
    )


TENSORS = [
    lambda: _x(2, 3), lambda: _x(3), lambda: _x(), lambda: _x(2, 3, requires_grad=True), lambda: _x(3, 3, dtype="float64"),
    lambda: _x(2, 3, 8, 8), lambda: mg.tensor([0, 1]), lambda: mg.tensor([[True, False, True], [True, True, False]]),
    lambda: _x(2, 3, dtype="float16"), lambda: _x(0, 3), lambda: mg.tensor([1, 2], dtype="uint8"), lambda: _x(4, 3, 3, 3),
]  # fmt: skip
IMAGES = [lambda: _x(2, 3, 32, 32), lambda: _x(1, 3, 64, 64)]
ARRAYS = [_pictures, lambda: np.zeros((4, 8, 8), np.uint8)]
NUMBERS = [lambda: 1, lambda: 0.5, lambda: 0, lambda: 2, lambda: -1, lambda: 1.0]
WHOLE = [lambda: 1, lambda: 2, lambda: 3, lambda: 0]
FLAGS = [lambda: True, lambda: False]
DIMS = [lambda: 0, lambda: -1, lambda: (0,), lambda: (0, 1), lambda: None]
SIZES = [lambda: (2, 3), lambda: 2, lambda: (3,), lambda: [2, 2]]
FUNCTIONS = [
    lambda: _number,
    lambda: _first,
    lambda: lambda *a: None,
    lambda: lambda *a: {"y": a},
    lambda: lambda *a: "y",
]
PARAMETERS = [
    lambda: _trained().parameters(), lambda: list(_trained().parameters()), lambda: list(_net().parameters()),
    lambda: _trained().named_parameters(), lambda: [{"params": list(_trained().parameters()), "lr": 0.1}], lambda: [],
]  # fmt: skip
STATES = [
    lambda: _net().state_dict(), lambda: _optimizer().state_dict(), lambda: {}, lambda: mg.optim.EMA(_net()).state_dict(),
    lambda: lr_scheduler.ExponentialLR(_optimizer(), 0.5).state_dict(), lambda: {"scale": 1.0, "_growth_tracker": 0},
]  # fmt: skip
MODULES = [_net, _model, lambda: mg.nn.Linear(3, 3), lambda: mg.nn.Identity()]
PATHS = [
    lambda: "file.safetensors",
    lambda: "missing.safetensors",
    lambda: "picture.png",
    lambda: ".",
    lambda: "folder",
]
OPTIONS = [lambda: "mean", lambda: "none", lambda: "constant", lambda: "bilinear", lambda: "fan_in", lambda: "train"]
TEXTS = [lambda: "a", lambda: "0", lambda: ""]
GENERATORS = [lambda: None, lambda: generators.Generator(1)]

# kind: (right arguments, the names of the parameters). The first five kinds promise a sentence of minigrad's own.
KINDS: dict[str, tuple[list, str]] = {
    "tensor": (
        TENSORS,
        """input other target weight bias tensor index indices value condition mat1 mat2 source src mask vec vec2 query key
        running_mean running_var attn_mask pos_weight gradient grad_outputs key_padding_mask w1 b1 w2 b2 taps dropout_mask
        logits loss last_hidden_state x skip grad new_scale""",
    ),
    "images": (IMAGES, "pixel_values"),
    "tensors": (
        [lambda: [_x(2, 3), _x(2, 3)], lambda: (_x(2, 3), _x(1, 3)), lambda: _x(2, 3), lambda: [_x(3, requires_grad=True)]],
        """tensors operands inputs outputs grad_tensors v after values outputs feature_maps hidden_states attentions maps
        labels_ batch""",
    ),
    "module": (MODULES, "model module backbone"),
    "modules": ([lambda: [_net()], lambda: {"a": _net()}, lambda: (_net(), mg.nn.ReLU())], "modules"),
    "function": (
        FUNCTIONS,
        "func fn function lr_lambda hook closure callback transform mix content forward vjps backward",
    ),
    "parameters": (PARAMETERS, "parameters params param_group group"),
    "optimizer": ([_optimizer], "optimizer"),
    "state": (STATES, "state_dict groups mapping"),
    "path": (PATHS, "path root folder source checkpoint_path cache_dir output"),
    "data": ([_dataset, lambda: mg.data.Digits("test")], "dataset"),
    "arrays": (ARRAYS, "images image pixels array"),
    "labels": ([lambda: np.array([0, 1, 2, 0]), lambda: [0, 1, 2, 0], lambda: mg.tensor([0, 1])], "labels predicted"),
    "sequence": (
        [lambda: [1, 2], lambda: (0.5,), lambda: ["a", "b", "c"], lambda: {"a": "b"}],
        """milestones classes names depths titles transforms out_indices out_features id2label metadata filter exclude_filters
        no_weight_decay_list embed_dims mlp_ratios sr_ratios patch_sizes strides fields metrics probabilities batches
        config_fields changes feature_info confusion counts rows columns indices_""",
    ),
    "generator": (GENERATORS, "generator"),
    "config": ([lambda: mg.models.PVTV2Config(num_classes=2, **SMALL), lambda: None], "config preprocessing"),
    "processor": ([lambda: mg.models.ImageProcessor(size=32), lambda: None], "processor image_processor"),
    "state of a step": ([lambda: [_net()], lambda: [], lambda: _net()], "state"),
}  # fmt: skip
SOFT: dict[str, tuple[list, str]] = {  # numbers, flags, names
    "number": (
        NUMBERS,
        """alpha beta eps p min max exponent slope negative_slope threshold momentum scale a b mean std gain lr val decay eta_min
        weight_decay gamma fill maximum""",
    ),
    "whole": (
        WHOLE,
        """dim dim0 dim1 dim2 start_dim end_dim diagonal offset chunks start end step length decimals n m low high seed groups
        num_classes kernel_size stride padding dilation output_padding size_ correction dimension in_features out_channels
        in_channels last_epoch steps num_features num_groups num_channels num_heads embed_dim num_embeddings embedding_dim
        batch_size T_max step_size total_steps warmup_steps epochs depth height width count epoch block""",
    ),
    "dims": (DIMS, "dim_ dims axes axis"),
    "sizes": (
        SIZES,
        "shape size sizes output_size normalized_shape split_size_or_sections shifts input_shape widths pad",
    ),
    "flag": (
        FLAGS,
        """keepdim requires_grad affine bias_ training create_graph retain_graph inplace unbiased shuffle drop_last nesterov
        strict recurse relu""",
    ),
    "option": (OPTIONS, "reduction mode approximate rounding_mode nonlinearity split part padding_mode layout op"),
    "text": (TEXTS, "name prefix title equation text"),
    "dtype": ([lambda: None, lambda: "float32", lambda: mg.float64, lambda: "int64"], "dtype"),
    "device": ([lambda: None, lambda: "cpu"], "device"),
    "rng": ([lambda: np.random.default_rng(0)], "rng"),
}
KIND_OF = {name: kind for kind, (_, names) in [*KINDS.items(), *SOFT.items()] for name in names.split()}
RIGHT = {kind: right for kind, (right, _) in [*KINDS.items(), *SOFT.items()]}


def kind_of(name: str, parameter: str) -> str:
    if parameter == "bias" and name.startswith("nn."):
        return "flag"
    return KIND_OF.get(parameter, "number")


# Where a name means something else.
ELSEWHERE: dict[str, list] = {
    "data.Subset(indices)": [lambda: [0, 1], lambda: np.array([2])],
    "data.Subset.batch(indices)": [lambda: [0, 1], lambda: np.array([1])],
    "data.ArrayDataset.batch(indices)": [lambda: [0, 1], lambda: np.array([2])],
    "data.ImageFolder.batch(indices)": [lambda: [0]],
    "data.Digits.batch(indices)": [lambda: [0, 1]],
    "data.ImageFolder(mode)": [lambda: "RGB"],
    "data.DataLoader(part)": [lambda: (0, 1)],
    "training.evaluate(batches)": [lambda: [(_x(2, 3), mg.tensor([0, 1]))]],
    "training.class_iou(confusion)": [lambda: np.eye(3, dtype=int)],
    "training.mean_iou(confusion)": [lambda: np.eye(3, dtype=int)],
    "training.train(config)": [],
    "training.TrainConfig(output)": [lambda: None],
    "training.TrainConfig(model)": [lambda: "pvt_v2_tiny"],
    "training.TrainConfig(data)": [lambda: "digits"],
    "training.load_task(config)": [lambda: mg.training.TrainConfig()],
    "visual.confusion_matrix(counts)": [lambda: np.eye(3, dtype=int)],
    "models.create_model(name)": [lambda: "pvt_v2_tiny"],
    "models.create_model(fields)": [lambda: {"num_classes": 2}],
    "models.list_models(filter)": [lambda: "*b0", lambda: ["*"]],
    "autograd.gradcheck(inputs)": [lambda: [_x(3, dtype="float64", requires_grad=True)]],
    "autograd.gradgradcheck(inputs)": [lambda: [_x(3, dtype="float64", requires_grad=True)]],
    "mg.linspace(steps)": [lambda: 5],
    "mg.autocast(dtype)": [lambda: "float16"],
    "optim.Adam(betas)": [lambda: (0.9, 0.99)],
    "optim.AdamW(betas)": [lambda: (0.9, 0.99)],
    "nn.Conv2d(padding)": [lambda: 1, lambda: "same"],
    "nn.Module.named_modules(memo)": [lambda: None],
}
for _name in ("MSELoss", "L1Loss", "SmoothL1Loss", "BCEWithLogitsLoss"):
    ELSEWHERE[f"nn.{_name}.forward(target)"] = [lambda: _x(2, 3)]

ALWAYS = {"training.train(config)"}  # instead of the default
SMALL = {"embed_dims": (8, 8, 8, 8), "num_heads": (1, 1, 1, 1), "depths": (1, 1, 1, 1)}  # for the models' factories

# Objects whose methods are called: "space.Class" -> how to make one.
OBJECTS = {
    "visual.ModuleGraph": lambda: mg.visual.module_graph(_net(), (1, 3)),
    "visual.AutogradGraph": lambda: mg.visual.autograd_graph(_x(2, requires_grad=True) * 2),
    "nn.Linear": lambda: mg.nn.Linear(3, 4), "nn.Conv2d": lambda: mg.nn.Conv2d(3, 4, 3),
    "nn.ConvTranspose2d": lambda: mg.nn.ConvTranspose2d(3, 4, 3), "nn.LayerNorm": lambda: mg.nn.LayerNorm(3),
    "nn.GroupNorm": lambda: mg.nn.GroupNorm(1, 3), "nn.BatchNorm1d": lambda: mg.nn.BatchNorm1d(3),
    "nn.BatchNorm2d": lambda: mg.nn.BatchNorm2d(3), "nn.Embedding": lambda: mg.nn.Embedding(4, 3),
    "nn.MultiheadAttention": lambda: mg.nn.MultiheadAttention(3, 1), "nn.Sequential": _net,
    "nn.ModuleList": lambda: mg.nn.ModuleList([mg.nn.ReLU()]), "nn.ModuleDict": lambda: mg.nn.ModuleDict({"a": mg.nn.ReLU()}),
    "nn.AvgPool2d": lambda: mg.nn.AvgPool2d(2), "nn.MaxPool2d": lambda: mg.nn.MaxPool2d(2),
    "nn.AdaptiveAvgPool2d": lambda: mg.nn.AdaptiveAvgPool2d(2), "nn.Softmax": lambda: mg.nn.Softmax(-1),
    "nn.LogSoftmax": lambda: mg.nn.LogSoftmax(-1), "mg.Tensor": lambda: _x(2, 3, requires_grad=_draws.random() < 0.5),
    "optim.SGD": lambda: mg.optim.SGD(_trained().parameters(), momentum=0.9), "optim.AdamW": _optimizer,
    "optim.EMA": lambda: mg.optim.EMA(_net()), "mg.GradScaler": mg.GradScaler,
    "lr.ExponentialLR": lambda: lr_scheduler.ExponentialLR(_optimizer(), 0.5),
    "lr.LambdaLR": lambda: lr_scheduler.LambdaLR(_optimizer(), lambda t: 1.0),
    "lr.OneCycleLR": lambda: lr_scheduler.OneCycleLR(_optimizer(), 1.0, 10),
    "data.ArrayDataset": _dataset, "data.Subset": lambda: mg.data.Subset(_dataset(), [0, 1]), "data.Digits": mg.data.Digits,
    "data.DataLoader": lambda: mg.data.DataLoader(_dataset(), 2), "data.ImageFolder": lambda: mg.data.ImageFolder("folder"),
    "transforms.Compose": lambda: transforms.Compose([transforms.ToFloat()]), "transforms.Resize": lambda: transforms.Resize(4),
    "transforms.CenterCrop": lambda: transforms.CenterCrop(4), "transforms.RandomCrop": lambda: transforms.RandomCrop(4),
    "transforms.RandomShift": lambda: transforms.RandomShift(1), "transforms.ToFloat": transforms.ToFloat,
    "transforms.RandomHorizontalFlip": transforms.RandomHorizontalFlip,
    "transforms.Normalize": lambda: transforms.Normalize(0.5, 0.5), "training.RandomAffine": lambda: mg.training.RandomAffine(1),
    "random.Generator": lambda: generators.Generator(1), "models.PVTV2Config": mg.models.PVTV2Config,
    "models.PVTV2Model": lambda: _model().encoder if hasattr(_model(), "encoder") else _model(), "models.PVT_V2": _model,
    "models.SemanticFPN": lambda: mg.models.SemanticFPN(_backbone(), 3, channels=8),
    "models.MLPSegmenter": lambda: mg.models.MLPSegmenter(_backbone(), 3, channels=8),
    "models.ImageProcessor": lambda: mg.models.ImageProcessor(size=32), "training.Classifier": _classifier,
    "models.FeatureListNet": lambda: mg.models.create_model("pvt_v2_tiny", features_only=True),
    "models.PVTV2Backbone": _backbone,
    "models.BaseModelOutput": lambda: mg.models.BaseModelOutput(_x(2, 3)),
    "models.ImageClassifierOutput": lambda: mg.models.ImageClassifierOutput(logits=_x(2, 3)),
    "models.SemanticSegmenterOutput": lambda: mg.models.SemanticSegmenterOutput(logits=_x(2, 3)),
    "models.BackboneOutput": lambda: mg.models.BackboneOutput((_x(2, 3),)), "autograd.observe": lambda: mg.autograd.observe(_first),
    "optim.Adam": lambda: mg.optim.Adam(_trained().parameters()),
    "mg.no_grad": mg.no_grad, "mg.enable_grad": mg.enable_grad, "mg.autocast": lambda: mg.autocast("float16"),
    "mg.device": lambda: mg.device("cpu"), "autograd.detect_anomaly": mg.autograd.detect_anomaly,
    "nn.Parameter": lambda: mg.nn.Parameter([1.0, 2.0]), "nn.Buffer": lambda: mg.nn.Buffer([1.0, 2.0]),
    "training.TrainConfig": mg.training.TrainConfig, "lr.StepLR": lambda: lr_scheduler.StepLR(_optimizer(), 2),
    "lr.MultiStepLR": lambda: lr_scheduler.MultiStepLR(_optimizer(), [2, 3]),
    "lr.CosineAnnealingLR": lambda: lr_scheduler.CosineAnnealingLR(_optimizer(), 5),
    "lr.CosineWithWarmup": lambda: lr_scheduler.CosineWithWarmup(_optimizer(), 2, 5),
}  # fmt: skip
OBJECTS |= {
    f"nn.{name}": getattr(mg.nn, name)
    for name in """ELU GELU SELU LeakyReLU ReLU SiLU Sigmoid Softplus Tanh Dropout DropPath Flatten Identity BCEWithLogitsLoss
    CrossEntropyLoss L1Loss MSELoss NLLLoss SmoothL1Loss""".split()
}
OF_ONE = {
    "nn.Linear",
    "mg.Tensor",
    "optim.AdamW",
    "lr.ExponentialLR",
    "models.PVT_V2",
}  # where inherited methods are called


# --- right calls ----------------------------------------------------------------------------------------------------------
# Arguments that fit together, where the pools' seldom do: what stands beside the wrong one must not be refused before it.
def _ints():
    return mg.tensor([[1, 2, 3], [4, 5, 6]])


def _mask():
    return mg.tensor([[True, False, True], [True, True, False]])


def _leaf_and_number():
    x = _x(2, 3, requires_grad=True)
    return x, (x * x).sum()


def _group():
    return {**_optimizer().param_groups[0], "params": [_weight()]}


def _maps():
    return [_x(2, 8, n, n) for n in (8, 4, 2, 1)]


def _rows():
    names = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "lr")
    return [{"epoch": i, **dict.fromkeys(names, 0.5)} for i in (1, 2)]


def _preprocessing():
    return mg.models.ImageProcessor(size=32)


CALLS = {
    # methods of tensors are found here without their `input`, which is a tensor (2, 3) unless `ON` says another
    "__iand__ __ior__ __ixor__ __ilshift__ __irshift__ "
    "__and__ __rand__ __or__ __ror__ __xor__ __rxor__ __lshift__ __rlshift__ __rshift__ __rrshift__ bitwise_and bitwise_or "
    "bitwise_xor bitwise_left_shift bitwise_right_shift": lambda: {"input": _ints(), "other": _ints()},
    "bitwise_not": lambda: {"input": _ints()},
    "fill_": lambda: {"value": 1.0},
    "copy_": lambda: {"src": _x(2, 3)},
    "addcmul_ addcdiv_": lambda: {"tensor1": _x(2, 3), "tensor2": _x(2, 3)},
    "lerp_": lambda: {"end": _x(2, 3), "weight": 0.5},
    "masked_fill masked_fill_": lambda: {"input": _x(2, 3), "mask": _mask(), "value": 1.0},
    "where": lambda: {"condition": _mask(), "input": _x(2, 3), "other": _x(2, 3)},
    "masked_select": lambda: {"input": _x(2, 3), "mask": _mask()},
    "reshape view": lambda: {"input": _x(2, 3), "sizes": (3, 2), "shape": (3, 2)},
    "unflatten": lambda: {"input": _x(2, 3), "dim": 1, "sizes": (3, 1)},
    "narrow": lambda: {"input": _x(2, 3), "dim": 1, "start": 0, "length": 1},
    "select": lambda: {"input": _x(2, 3), "dim": 0, "index": 1},
    "index_select": lambda: {"input": _x(2, 3), "dim": 0, "index": mg.tensor([0, 1])},
    "gather": lambda: {"input": _x(2, 3), "dim": 0, "index": mg.tensor([[0, 1, 0]])},
    "take_along_dim": lambda: {"input": _x(2, 3), "dim": 0, "indices": mg.tensor([[0, 1, 0]])},
    "index_fill_": lambda: {"dim": 0, "index": mg.tensor([1]), "value": 1.0},
    "index_copy_": lambda: {"dim": 0, "index": mg.tensor([1]), "source": _x(1, 3)},
    "put_": lambda: {"index": mg.tensor([1]), "source": _x(1)},
    "scatter_add scatter_add_ scatter_": lambda: {"input": _x(2, 3), "dim": 0, "index": mg.tensor([[0, 1, 0]]), "src": _x(1, 3)},
    "index_add index_add_": lambda: {"input": _x(2, 3), "dim": 0, "index": mg.tensor([1]), "source": _x(1, 3)},
    "matmul __matmul__": lambda: {"input": _x(2, 3), "other": _x(3, 2)},
    "__rmatmul__": lambda: {"other": _x(4, 2)},
    "mm": lambda: {"input": _x(2, 3), "mat2": _x(3, 2)},
    "bmm": lambda: {"input": _x(2, 2, 3), "mat2": _x(2, 3, 2)},
    "mv": lambda: {"input": _x(2, 3), "vec": _x(3)},
    "dot": lambda: {"input": _x(3), "other": _x(3)},
    "outer": lambda: {"input": _x(3), "vec2": _x(2)},
    "addmm": lambda: {"input": _x(2, 3), "mat1": _x(2, 3), "mat2": _x(3, 3)},
    "einsum": lambda: {"equation": "ij", "operands": _x(2, 3)},
    "mg.conv2d": lambda: {"input": _x(2, 3, 8, 8), "weight": _x(4, 3, 3, 3), "bias": _x(4)},
    "mg.conv1d": lambda: {"input": _x(2, 3, 8), "weight": _x(4, 3, 3), "bias": _x(4)},
    "mg.conv_transpose2d": lambda: {"input": _x(2, 4, 8, 8), "weight": _x(4, 3, 3, 3), "bias": _x(3)},
    "mg.interpolate": lambda: {"input": _x(2, 3, 8, 8), "size": (4, 4)},
    "mg.max_pool2d mg.avg_pool2d": lambda: {"input": _x(2, 3, 8, 8), "kernel_size": 2},
    "mg.adaptive_avg_pool2d": lambda: {"input": _x(2, 3, 8, 8), "output_size": 2},
    "mg.embedding": lambda: {"input": mg.tensor([0, 1]), "weight": _x(2, 3)},
    "mg.linear": lambda: {"input": _x(2, 3), "weight": _x(4, 3), "bias": _x(4)},
    "mg.pad_zeros": lambda: {"input": _x(2, 3), "widths": ((1, 1), (0, 1))},
    "mg.setitem __setitem__": lambda: {"input": _x(2, 3), "at": 0, "values": _x(3), "value": _x(3)},
    "mg.randint": lambda: {"low": 0, "high": 5, "size": (2, 3)},
    "mg.device mg.set_default_device": lambda: {"name": "cpu"},
    "mg.grad": lambda: dict(zip(("inputs", "outputs"), _leaf_and_number(), strict=True)),
    "autograd.backward": lambda: {"tensors": _leaf_and_number()[1]},
    "autograd.hvp autograd.vjp autograd.jvp": lambda: {"func": _number, "inputs": _x(2, 3), "v": _x(2, 3)},
    "autograd.retain_grad autograd.retains_grad": lambda: {"tensor": _leaf_and_number()[1]},
    "visual.autograd_graph": lambda: {"tensor": _leaf_and_number()[1]},
    "F.batch_norm": lambda: {"input": _x(2, 3), "running_mean": mg.zeros(3), "running_var": mg.ones(3), "weight": None, "bias": None},
    "F.conv_mlp": lambda: {
        "x": _x(1, 6, 2), "w1": _x(4, 2), "b1": None, "taps": _x(4, 1, 3, 3), "b": _x(4), "w2": _x(2, 4), "b2": None,
        "size": (2, 3), "relu": True,
    },
    "F.mse_loss F.l1_loss F.smooth_l1_loss F.binary_cross_entropy_with_logits": lambda: {"input": _x(2, 3), "target": _x(2, 3)},
    "F.nll_loss F.cross_entropy nn.NLLLoss.forward nn.CrossEntropyLoss.forward": lambda: {
        "input": _x(2, 3), "target": mg.tensor([0, 2]),
    },
    "F.scaled_dot_product_attention nn.MultiheadAttention.forward": lambda: {
        "query": _x(2, 4, 3), "key": _x(2, 4, 3), "value": _x(2, 4, 3),
    },
    "nn.Linear": lambda: {"in_features": 3, "out_features": 4},
    "nn.Linear.__call__": lambda: {"args": _x(2, 3)},
    "get_submodule": lambda: {"target": ""},
    "nn.Linear.to models.PVT_V2.to mg.Tensor.to": lambda: {"targets": "cpu", "dtype": "float64"},
    "nn.ModuleDict.__getitem__ nn.ModuleDict.__setitem__ nn.ModuleDict.__delitem__ nn.ModuleDict.pop": lambda: {"key": "a"},
    "nn.Sequential.__getitem__ nn.Sequential.__setitem__ nn.Sequential.__delitem__ nn.Sequential.insert nn.ModuleList.__getitem__ "
    "nn.ModuleList.__setitem__ nn.ModuleList.__delitem__ nn.ModuleList.insert": lambda: {"index": 0},
    "nn.Buffer.grad nn.Parameter.grad": lambda: {"value": _x(2)},
    "mg.Tensor.grad": lambda: {"value": _x(2, 3)},
    "requires_grad": lambda: {"value": True},
    "nn.init.calculate_gain": lambda: {"nonlinearity": "relu"},
    "nn.init.uniform_bias_": lambda: {"bias": _x(3), "weight": _x(3, 2)},
    "optim.SGD.check": lambda: {"group": _group() | {"momentum": 0.5, "dampening": 0, "nesterov": False}},
    "optim.Adam.check optim.AdamW.check": lambda: {"group": mg.optim.AdamW([_weight()]).param_groups[0]},
    "optim.AdamW.add_param_group": lambda: {"param_group": {"params": [_weight()]}},
    "optim.Optimizer": lambda: {"params": [_weight()], "defaults": {"lr": 0.1}},
    "optim.unflatten_state": lambda: {"tensors": {"0.exp_avg": mg.ones(1)}, "groups": [{"params": [0]}]},
    "mg.GradScaler.load_state_dict": lambda: {"state_dict": mg.GradScaler().state_dict()},
    "optim.AdamW.load_state_dict": lambda: {"state_dict": mg.optim.AdamW(_trained().parameters()).state_dict()},
    "data.ArrayDataset.__getitem__ data.ImageFolder.__getitem__ data.Subset.__getitem__": lambda: {"index": 0},
    "data.open_image": lambda: {"source": "picture.png", "mode": "RGB"},
    "data.read_image": lambda: {"path": "picture.png", "mode": "RGB"},
    "transforms.Compose": lambda: {"transforms": [transforms.ToFloat()]},
    "transforms.RandomShift": lambda: {"pixels": 1},
    "models.BackboneOutput.__getitem__ models.BaseModelOutput.__getitem__ models.ImageClassifierOutput.__getitem__ "
    "models.SemanticSegmenterOutput.__getitem__": lambda: {"key": 0},
    "models.BackboneOutput.__setitem__ models.BaseModelOutput.__setitem__ models.ImageClassifierOutput.__setitem__ "
    "models.SemanticSegmenterOutput.__setitem__": lambda: {"key": "attentions"},
    "stage_maps": lambda: {"x": _x(1, 3, 32, 32), "attentions": []},
    "forward_intermediates": lambda: {"x": _x(1, 3, 32, 32), "indices": 2, "output_fmt": "NCHW"},
    "forward_head": lambda: {"x": _x(1, 8, 1, 1)},
    "models.PVT_V2.__call__": lambda: {"args": _x(1, 3, 32, 32)},
    "models.PVTV2Backbone.out_features": lambda: {"value": ["stage1"]},
    "models.PVTV2Backbone.out_indices": lambda: {"value": [0]},
    "models.PVTV2Config": lambda: {"num_classes": 2},
    "models.PVTV2Config.from_dict": lambda: {"values": mg.models.PVTV2Config(num_classes=2).to_dict()},
    "models.PVTV2Config.from_hf": lambda: {"values": mg.models.PVTV2Config(num_classes=2).to_hf()},
    "models.PVTV2Config.check_size": lambda: {"height": 32, "width": 32},
    "models.from_pretrained training.Classifier.from_pretrained models.ImageProcessor.from_pretrained": lambda: {"source": "model"},
    "training.Classifier.load": lambda: {"path": "trained"},
    "models.load_weights": lambda: {"model": _model(), "path": "model"},
    "models.save_pretrained": lambda: {"model": _model(), "folder": "written"},
    "models.ImageProcessor.of_checkpoint": lambda: {"path": "model", "in_channels": 3, "height": 32, "width": 32},
    "models.ImageProcessor.pixels": lambda: {"images": np.zeros((1, 3, 8, 8), np.float32)},
    "models.ImageProcessor.from_dict": lambda: {"values": _preprocessing().to_dict()},
    "decode": lambda: {"maps": _maps()},
    "models.SemanticFPN models.MLPSegmenter": lambda: {"backbone": _backbone(), "num_classes": 3},
    "visual.AutogradGraph.save visual.ModuleGraph.save": lambda: {"path": "graph.svg"},
    "visual.feature_pyramid visual.attention_overlay": lambda: {
        "model": _model(), "image": "picture.png", "processor": _preprocessing(),
    },
    "visual.prediction_grid": lambda: {
        "images": _pictures(), "labels": np.array([0, 1, 1, 0]), "probabilities": np.full((4, 2), 0.5), "classes": ["a", "b"],
    },
    "visual.training_curves": lambda: {"metrics": _rows()},
    "training.Classifier": lambda: {"model": _model(), "classes": ["a", "b", "c"], "preprocessing": _preprocessing(), "device": "cpu"},
    "training.Classifier.create": lambda: {"config": mg.training.TrainConfig(), "task": mg.training.load_task("digits", 32)},
    "training.Classifier.batches": lambda: {"part": "val", "data": "digits"},
    "training.Classifier.probabilities": lambda: {"batch": np.zeros((1, 3, 32, 32), np.float32)},
    "training.TrainConfig.from_dict": lambda: {"settings": mg.training.TrainConfig().to_dict()},
    "training.confusion_counts": lambda: {"labels": np.array([0, 1]), "predicted": np.array([1, 1]), "classes": 2},
    "training.digit_scan": lambda: {"pixels": np.pad(np.full((8, 4), 255, np.uint8), 8)},
    "visual.ModuleGraph.depth visual.ModuleGraph.parent": lambda: {"key": next(iter(OBJECTS["visual.ModuleGraph"]().nodes))},
    "visual.AutogradGraph.depth visual.AutogradGraph.parent": lambda: {"key": next(iter(OBJECTS["visual.AutogradGraph"]().nodes))},
    "training.load_task": lambda: {"data": "digits", "size": 32},
    "files.atomic_write_json": lambda: {"path": "new.json", "value": {"a": 1}},
    "files.as_json": lambda: {"value": {"a": 1}},
    "files.atomic_write_folder": lambda: {"folder": "new", "contents": {"a": b"1"}},
    "serialize.packed": lambda: {"mapping": {"a": mg.ones(2)}},
    "serialize.load_arrays serialize.read_header": lambda: {"path": "file.safetensors"},
    "distributed.all_gather": lambda: {"values": [1.0, 2.0]},
}  # fmt: skip
RIGHT_CALLS = {name: call for names, call in CALLS.items() for name in names.split()}
ON = {"__iand__ __ior__ __ixor__ __ilshift__ __irshift__": _ints,
      "__and__ __rand__ __or__ __ror__ __xor__ __rxor__ __lshift__ __rlshift__ __rshift__ __rrshift__ bitwise_and bitwise_or bitwise_xor "
      "bitwise_left_shift bitwise_right_shift bitwise_not": _ints, "bmm": lambda: _x(2, 2, 3), "dot outer": lambda: _x(3),
      "item backward": lambda: _x(requires_grad=True)}  # fmt: skip
ON = {f"mg.Tensor.{name}": make for names, make in ON.items() for name in names.split()}
ON["training.Classifier.batches"] = lambda: mg.training.Classifier.create(
    *RIGHT_CALLS["training.Classifier.create"]().values()
)


# --- wrong ones ---------------------------------------------------------------------------------------------------------
class Thing:
    pass


WRONG = {
    "None": lambda: None, "list": lambda: [1.0, 2.0], "list of None": lambda: [None], "list of str": lambda: ["a"],
    "list of object": lambda: [object()], "empty list": list, "dict": lambda: {"a": 1}, "str": lambda: "wrong",
    "bytes": lambda: b"wrong", "object": object, "thing": Thing, "class": lambda: Thing, "type": lambda: int,
    "ndarray": lambda: np.ones((2, 3)), "ndarray of str": lambda: np.array(["a"]), "complex": lambda: 1j,
    "nan": lambda: float("nan"), "huge": lambda: 10**30, "generator": lambda: (i for i in range(3)),
    "module": lambda: mg.nn.Linear(3, 3), "python module": lambda: types, "set": lambda: {1, 2}, "tuple": lambda: (1, "a"),
    "function": lambda: _first, "float": lambda: 2.5, "int": lambda: 3, "Ellipsis": lambda: ..., "slice": lambda: slice(None),
    "tensor": lambda: _x(2, 3), "range": lambda: range(3), "bool": lambda: True, "dtype": lambda: np.float32,
}  # fmt: skip
CALLABLE = {"class", "type", "dtype", "module", "function"}  # not wrong where a function is expected


# --- what is called -----------------------------------------------------------------------------------------------------
def _public(space: types.ModuleType) -> list[str]:
    return list(getattr(space, "__all__", None) or [name for name in dir(space) if not name.startswith("_")])


def public_classes() -> dict[str, type]:
    """Every public class of minigrad's under the first of its names."""
    found: dict[type, str] = {}
    for label, space in SPACES.items():
        for name in _public(space):
            value = getattr(space, name)
            if inspect.isclass(value) and value.__module__.startswith("minigrad"):
                found.setdefault(value, f"{label}.{name}")
    return {name: cls for cls, name in found.items()}


def entries() -> list[tuple[str, str | None, object]]:
    """(name, the object whose method it is or None, the function)."""
    found, seen = [], set()
    for label, space in SPACES.items():
        for name in _public(space):
            value = getattr(space, name)
            if inspect.ismodule(value) or not callable(value) or id(value) in seen:
                continue
            if not (getattr(value, "__module__", None) or "").startswith("minigrad"):
                continue
            seen.add(id(value))
            full = f"{label}.{name}"
            found.append((full, None, value))
            if inspect.isclass(value):
                found += [(f"{full}.{m}", None, getattr(value, m)) for m in _class_methods(value)]
            if full in OBJECTS:
                found += [(f"{full}.{m}", full, m) for m in _methods(value, full in OF_ONE)]
                found += [(f"{full}.{m}", full, f"{m}=") for m in _settable(value)]
    return [entry for entry in found if not {entry[0], f"{entry[0].rpartition('.')[0]}.*"} & LEFT_OUT]


def _classes(cls: type, inherited: bool) -> list[type]:
    """The classes whose methods count as those of `cls`: all, or its own and those of what isn't public."""
    ours = [c for c in cls.__mro__ if c.__module__.startswith("minigrad")]
    return ours if inherited else [c for c in ours if c is cls or c not in PUBLIC]


def _class_methods(cls: type) -> list[str]:
    return [n for n, v in vars(cls).items() if isinstance(v, classmethod | staticmethod) and not n.startswith("_")]


def _methods(cls: type, inherited: bool) -> list[str]:
    """The names of methods, also of operators."""
    found = dict.fromkeys(name for c in _classes(cls, inherited) for name, value in vars(c).items() if callable(value))
    made = {"__eq__"} if is_dataclass(cls) else set()
    known = [n for n in found if n in SPECIAL - made or not n.startswith("_") and n not in _class_methods(cls)]
    return known + (["forward"] if issubclass(cls, mg.nn.Module) and "forward" not in known else [])


def _settable(cls: type) -> list[str]:
    """The names of properties that can be assigned."""
    every = {name: value for c in reversed(_classes(cls, True)) for name, value in vars(c).items()}
    return [name for name, value in every.items() if isinstance(value, property) and value.fset]


def _assign(thing: object, name: str):
    """The function that assigns to an attribute."""

    def assign(value):
        setattr(thing, name, value)

    return assign


PUBLIC = set(public_classes().values())
SPECIAL = {
    "__call__",
    "__getitem__",
    "__setitem__",
    "__delitem__",
    "__contains__",
}
SPECIAL |= {
    f"__{side}{name}__"
    for name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift eq ne lt le gt ge".split()
    for side in ("", "r", "i")
}


def _flags() -> set[str]:
    """The parameters whose default is True or False."""
    functions = [value for _, owner, value in entries() if not owner]
    functions += [
        vars(c)[m]
        for cls in public_classes().values()
        for c in _classes(cls, True)
        for m in _methods(c, False)
        if m in vars(c)
    ]
    return {p.name for f in functions for p in inspect.signature(f).parameters.values() if isinstance(p.default, bool)}


for _name in _flags():
    KIND_OF.setdefault(_name, "flag")


@dataclass
class Call:
    """One call: what is called, with what, which parameters got something wrong, and what came of it."""

    name: str
    given: dict[str, str]
    wrong: list[str]
    error: BaseException | None = None
    fault: str = ""

    def __str__(self) -> str:
        given = ", ".join(f"{name}={text}" for name, text in self.given.items())
        return f"{self.name}({given}): {type(self.error).__name__}: {str(self.error)[:200]}"


SLOT = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def draw(entry, rng: random.Random) -> tuple[Call, object, list, dict]:
    """A call: its description, the function, positional and keyword arguments."""
    name, owner, value = entry
    _draws.seed(rng.random())
    if owner:
        thing = ON.get(name, OBJECTS[owner])()
        function = _assign(thing, value[:-1]) if value.endswith("=") else getattr(thing, value)
    else:
        function = value
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    fits = RIGHT_CALLS.get(name) or RIGHT_CALLS.get(name.rpartition(".")[2])
    together = fits() if fits and rng.random() < 0.8 else {}
    taken = [
        p
        for p in parameters
        if p.default is p.empty or p.name in together or rng.random() < 0.35 or f"{name}({p.name})" in ALWAYS
    ]
    if rng.random() < 0.8:  # dim and axis are two names of one
        taken = [
            p for p in taken if p.name not in ("axis", "keepdims") or not {"dim", "keepdim"} & {q.name for q in taken}
        ]
    wrong = set(rng.sample([p.name for p in taken], min(len(taken), 1 if rng.random() < 0.7 else 2)))
    args, kwargs, given, keywords = [], {}, {}, False
    for p in parameters:
        if p not in taken:
            keywords = True
            continue
        if p.name in wrong or name == "training.train":
            right = CALLABLE if kind_of(name, p.name) == "function" else {"None"} if name == "training.train" else set()
            text = rng.choice([w for w in WRONG if w not in right])
            made = [WRONG[text]()] if p.kind not in SLOT else [WRONG[text]() for _ in range(rng.choice([1, 1, 2]))]
        else:
            pool = ELSEWHERE.get(f"{name}({p.name})") or RIGHT[kind_of(name, p.name)]
            if p.name in together:
                pool = [lambda p=p: together[p.name]]
            elif p.default is not p.empty and (together or rng.random() < 0.3):
                pool = [lambda p=p: p.default]
            count = 1 if p.kind not in SLOT or p.name in together else rng.choice([1, 1, 2])
            made = [rng.choice(pool)() for _ in range(count)]
            text = "right"
        given[p.name] = text
        if p.kind is p.VAR_KEYWORD:
            fields = sorted(mg.models.PVTV2Config.__dataclass_fields__) if name.startswith("models.") else ["a"]
            kwargs |= made[0] if isinstance(made[0], dict) else {rng.choice(fields): made[0]} if text != "right" else {}
        elif p.kind is p.VAR_POSITIONAL:
            args += made
        elif p.kind is p.KEYWORD_ONLY or keywords:
            kwargs[p.name] = made[0]
        else:
            args.append(made[0])
        keywords = keywords or p.kind is p.VAR_POSITIONAL
    if name.startswith("models.pvt_v2") or name in ("models.PVT_V2", "models.PVTV2Model", "models.PVTV2Backbone"):
        kwargs = SMALL | kwargs
    return Call(name, given, sorted(wrong)), function, args, kwargs


# --- what may come of it --------------------------------------------------------------------------------------------------
ALLOWED = (
    TypeError, ValueError, IndexError, RuntimeError, OverflowError, KeyError, FloatingPointError, OSError, NotImplementedError,
)  # fmt: skip
BARE = re.compile(
    r"object is not (callable|iterable|subscriptable|reversible|a mapping|an iterator)|unsupported operand|not supported between"
    r"|object cannot be interpreted as an integer|has no len\(\)|must be str, not|bad operand type|can't multiply sequence"
    r"|can only concatenate|cannot unpack|values to unpack|indices must be integers|object does not support|invalid literal for"
    r"|could not convert string|(float|int|bytes|len)\(\) argument|unhashable type|expected str, bytes or os.PathLike"
    r"|must be real number, not|bytes-like object is required|truth value of an array|cannot reshape array"
    r"|could not be broadcast|(?<!\()setting an array element|Cannot interpret|argument after \*|math domain error"
    r"|an integer is required|index out of range|cannot convert float|unsupported format string|not all arguments"
    r"|did not contain a loop|ufunc|positional argument|(?<![.\w])__\w+__|no attribute"
    r"|argument must be|sequence item|codec can't|only (integers, slices|integer scalar|length-1|0-dim)|Mismatch|cannot be broadcast"
    r"|list\.remove|pop from|context manager|'NoneType' object|missing \d+ required"
)

# A flag may be whatever Python takes for true or false, which an array with several elements is not: numpy says it.
TRUTH = re.compile("The truth value of an array with more than one element is ambiguous")
FORWARD = re.compile(r"\w+\.forward\(\) ")  # a module that is called with too many arguments: Python names its method


def fault(call: Call) -> str:
    """ "" where the error is a sentence; else what is wrong with it."""
    error = call.error
    if error is None:
        return ""
    kind = type(error)
    if isinstance(error, AttributeError) and call.name.endswith(".get_submodule") and "has no submodule" in str(error):
        return ""  # as in PyTorch
    own = kind.__module__.startswith("minigrad")
    if not own and (kind.__module__ != "builtins" or not isinstance(error, ALLOWED)):
        return "kind"
    if isinstance(error, RecursionError | UnicodeError):
        return "kind"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, OSError) and not isinstance(error, mg.models.HubError) and error.errno is not None:
        return ""
    if (
        FORWARD.match(text)
        or TRUTH.match(text)
        and any(given == "ndarray" and kind_of(call.name, name) == "flag" for name, given in call.given.items())
    ):
        return ""
    return "bare" if " " not in text.strip() or BARE.search(text) else ""


class TooLong(BaseException):
    pass


@contextmanager
def at_most(seconds: float):
    """Ends a call that goes on and on, where the system can."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise TooLong(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # and again: Python drops what is raised within a callback
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def calls(samples: int, seed: int):
    """Goes through the entries again and again, in a new order each time."""
    every = entries()
    order: list = []
    for i in range(samples):
        if not order:
            order = random.Random(f"{seed} {i}").sample(every, len(every))
        yield attempt(order.pop(), random.Random(f"{seed} {i} call"))


FILES: dict[str, dict] = {"before": {}}  # what each call finds, whatever the calls before it wrote


def tidied() -> None:
    for path, (content, written) in FILES["before"].items():
        if not path.is_file() or path.stat().st_mtime_ns != written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, ns=(written, written))


def attempt(entry, rng: random.Random) -> Call:
    tidied()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call, function, args, kwargs = draw(entry, rng)
    try:
        with at_most(20), warnings.catch_warnings(), redirect_stdout(StringIO()), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = function(*args, **kwargs)
            if isinstance(result, types.GeneratorType):
                list(result)
    except (Exception, TooLong) as error:
        call.error = error
        call.fault = fault(call)
    return call


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """A folder of its own with some files, and no network."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "picture.png")
    (tmp_path / "folder" / "a").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "folder" / "a" / "picture.png")
    mg.save("file.safetensors", {"weight": mg.ones(2, 3)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mg.models.save_pretrained(_model(), "model", image_processor=_preprocessing())
    mg.training.Classifier.create(*RIGHT_CALLS["training.Classifier.create"]().values()).save("trained")
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setitem(FILES, "before", files)

    def refuse(*_, **__):
        raise OSError("no network in this test")

    if importlib.util.find_spec("huggingface_hub"):
        monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    device, threads = mg.get_default_device(), mg.get_num_threads()
    yield
    mg.set_default_device(device)
    mg.set_num_threads(threads)


def test_every_class_with_methods_is_called():
    """Each has an object here, or is left out by name."""
    lacking = {
        name
        for name, cls in public_classes().items()
        if name not in OBJECTS and not {name, f"{name}.*"} & LEFT_OUT and _methods(cls, False)
    }
    assert not lacking
    called = {name for name, *_ in entries()}
    for name in (
        "mg.Tensor.__matmul__",
        "mg.Tensor.grad",
        "nn.ModuleList.append",
        "models.PVTV2Config.from_dict",
        "random.Generator.state",
    ):
        assert name in called


# What right arguments don't make succeed: what has nothing to do here, is abstract, or needs the network or a backend that isn't there.
NEVER = {
    "mg.GradScaler.unscale_", "mg.GradScaler.step", "mg.GradScaler.update", "mg.Tensor.bfloat16", "nn.ModuleDict.forward",
    "nn.ModuleList.forward", "nn.ModuleDict.__call__", "lr.LRScheduler", "training.resume", "training.train",
    "training.TrainResult.load",
}  # fmt: skip


def test_right_arguments_are_right(surroundings):
    """Nearly every callable succeeds with what stands here as right: a wrong argument isn't hidden behind another error."""

    class NothingWrong(random.Random):
        def sample(self, population, k):
            return []

    failed = {}
    for entry in entries():
        for i in range(60):
            call = attempt(entry, NothingWrong(f"{entry[0]} {i}"))
            if call.error is None:
                break
        else:
            failed[entry[0]] = str(call)
    assert failed.keys() <= NEVER, "\n".join(text for name, text in failed.items() if name not in NEVER)


def test_wrong_types_are_told_in_a_sentence(samples, seed, surroundings):
    found, faults = Counter(), {}
    for call in calls(samples(2000), seed):
        found["calls"] += 1
        if call.fault:
            faults.setdefault((call.name, type(call.error).__name__), str(call))
    assert not faults, f"{len(faults)} kinds of calls:\n" + "\n".join(sorted(faults.values()))


def _weight():
    p = mg.nn.Parameter([1.0])
    p.grad = mg.ones(1)
    return p


SENTENCES = [
    (lambda: mg.autograd.checkpoint(3, mg.ones(2)), "checkpoint: function must be a function, got int"),
    (lambda: mg.autograd.jvp(lambda x: {"y": x}, mg.ones(2), mg.ones(2)), "jvp: func's outputs must be tensors, got dict"),
    (lambda: mg.autograd.vjp(3, mg.ones(2)), "vjp: func must be a function, got int"),
    (lambda: mg.autograd.hvp(lambda x: x.sum(), mg.ones(2), [None]), "hvp: v must be a tensor, got None"),
    (lambda: mg.autograd.hessian(lambda x: x.sum(), "x"), "hessian: inputs must be a tensor, got str"),
    (lambda: mg.autograd.jacobian(lambda x: x, [1.0]), "jacobian: inputs must be a tensor, got float; use mg.tensor(…)"),
    (lambda: mg.nn.utils.clip_grad_norm_([_weight()], "a"), "clip_grad_norm_: max_norm must be a number, got str"),
    (lambda: mg.nn.utils.clip_grad_value_(mg.nn.Linear(2, 2), 1.0), "parameters must be a tensor or an iterable of tensors, got Linear"),
    (lambda: mg.zeros_like([1.0]), "zeros_like: input must be a tensor, got list; use mg.tensor(…)"),
    (lambda: mg.randn_like(None), "randn_like: input must be a tensor, got None"),
    (lambda: mg.nn.init.normal_(np.ones(3)), "normal_: tensor must be a tensor, got ndarray; use mg.tensor(…)"),
    (lambda: mg.nn.init.zeros_(mg.nn.Linear), "zeros_: tensor must be a tensor, got the class Linear"),
    (lambda: mg.optim.EMA({"a": 1}), "EMA: module must be a module, got dict"),
    (lambda: lr_scheduler.LambdaLR(None, abs), "LambdaLR needs an optimizer, got None"),
    (lambda: lr_scheduler.LambdaLR(_optimizer(), 0.5), "LambdaLR: lr_lambda must be a function, got float"),
    (lambda: mg.data.mixup([1], [0], None, num_classes=2), "(N, channels, H, W)"),
    (lambda: mg.data.cutmix(_pictures(), np.zeros(4, int), 3, num_classes=2), "cutmix: rng must be a generator, got int"),
    (lambda: mg.data.Subset([1, 2], [0]), "Subset: dataset must be a data set, with batch() and len(), got list"),
    (lambda: mg.save("x.safetensors", [mg.ones(2)]), "save: mapping must be a dict from names to tensors or arrays, got list"),
    (lambda: mg.optim.Adam([_weight()], betas={0.9, 0.99}), "Adam: betas must be two numbers, as (0.9, 0.999), got set"),
    (lambda: mg.nn.MSELoss(reduction=np.ones(2)), "MSELoss: reduction must be 'mean', 'sum' or 'none', got ndarray"),
    (lambda: mg.data.Digits(3), "Digits: split must be 'train', 'val', 'test' or 'all', got 3"),
    (lambda: mg.nn.Linear(2, 3, np.ones(3)), "Linear: bias must be True or False, got ndarray"),
    (lambda: mg.nn.Sequential(mg.nn.ReLU())["0"], "Sequential: an index must be a whole number, got str"),
    (lambda: mg.round(mg.ones(2), decimals="2"), "round: decimals must be a whole number, got str"),
    (lambda: mg.zeros(2, dtype=np.ones(2)), "there is no dtype given by a ndarray"),
    (lambda: mg.models.PVTV2Config.from_dict(3), "PVTV2Config.from_dict: values must be a dict, got int"),
    (lambda: mg.training.load_task(3, 32), "load_task: data must be a path (a string or a pathlib.Path), got int"),
    (lambda: generators.Generator(0).integers(0, "a"), "integers: high must be a whole number, got str"),
    (lambda: setattr(generators.Generator(0), "state", 3), "a generator's state is two whole numbers, as its .state gives them, got 3"),
    (lambda: mg.load(0), "path must be a path (a string or a pathlib.Path), got int"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "sentence"), SENTENCES, ids=[sentence for _, sentence in SENTENCES])
def test_what_is_said(call, sentence):
    """One sentence, in one traceback, from the place where the call enters."""
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert sentence in str(caught.value)
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)
    assert all(frame.filename != "<string>" for frame in traceback.extract_tb(caught.value.__traceback__))
