"""Every operator of the list on every sample of PyTorch's operator database: values, dtypes, shapes and gradients."""

import warnings

import numpy as np
import opinfo
import pytest
import torch

MANY = 200  # of a larger suite so many samples are drawn, unless --full

RUNS = [
    (d, dtype)
    for d, dtypes in {"cpu": ("float64", "float32", "int64"), "mlx": ("float32",)}.items()
    for dtype in dtypes
]


def left_out(device: str, sample) -> str | None:
    """The reason for leaving a sample out, if there is one."""
    if device == "mlx" and sample.kwargs.get("dtype") is torch.float64:
        return "MLX has no float64"
    return None


CASES = [
    pytest.param(info, device, dtype, id=f"{opinfo.name_of(info)}-{device}-{dtype}")
    for info in opinfo.entries()
    for device, dtype in RUNS
    if getattr(torch, dtype) in info.dtypes
]


@pytest.mark.parametrize("info, device, dtype", CASES)
def test_operator(info, device, dtype, full, record_property):
    samples = opinfo.samples(info, getattr(torch, dtype))
    if len(samples) > MANY and not full:
        samples = [samples[i] for i in np.random.default_rng(0).choice(len(samples), MANY, replace=False)]
    forms, failures, passed, excluded = opinfo.forms(info), [], 0, 0
    assert forms, "no spelling to compare"
    for sample in samples:
        if left_out(device, sample):
            excluded += 1
            continue
        problem = first_problem(info, forms, sample, device)
        if problem is None:
            passed += 1
        else:
            failures.append(f"{opinfo.described(sample)}: {problem}")
    record_property("rate", (opinfo.name_of(info), f"{device} {dtype}", passed, excluded, len(samples)))
    assert not failures, f"{len(failures)} of {len(samples)} samples:\n" + "\n".join(failures[:10])


def first_problem(info, forms, sample, device) -> str | None:
    """What goes wrong with a sample in one of the operator's spellings."""
    for name, form in forms.items():
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            arguments = opinfo.Arguments((sample.input, *sample.args), sample.kwargs, device)
            wanted = opinfo.ask_torch(info.op, arguments)
            try:
                opinfo.check(form, arguments, wanted)
            except Exception as error:  # whatever a sample raises is counted, and the rest goes on
                return f"{name}: {type(error).__name__}: {error}"
    return None
