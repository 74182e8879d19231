"""Every operator of the list on every sample and reference input of PyTorch's operator database: values, dtypes, shapes and
gradients."""

import warnings

import numpy as np
import opinfo
import pytest
import torch

MANY, FEW = 200, 12  # so many samples and reference inputs of an operator are drawn, unless --full

RUNS = [
    (d, dtype)
    for d, dtypes in {"cpu": ("float64", "float32", "int64"), "mlx": ("float32",)}.items()
    for dtype in dtypes
]


def left_out(info, device: str, dtype: str, sample) -> str | None:
    """The reason for leaving a sample out, if there is one."""
    values = [sample.input, *sample.args, *sample.kwargs.values()]
    given = opinfo.tensors(values)
    if device == "mlx" and (torch.float64 in values or any(t.dtype is torch.float64 for t in given)):
        return "MLX has no float64"
    if any(isinstance(value, complex) for value in values):
        return "minigrad has no complex numbers"
    if not given:
        return "minigrad's functions take a tensor at least; PyTorch makes one of two numbers"
    if "memory_format" in sample.kwargs:
        return "minigrad has no memory formats"
    if info.name == "__rsub__" and not isinstance(sample.input, torch.Tensor):
        return "a method of a number, which PyTorch answers with NotImplemented"
    if info.name == "remainder" and not isinstance(sample.input, torch.Tensor):
        return "PyTorch has no derivative of a number's remainder"
    if info.name in ("nn.functional.elu", "nn.functional.selu") and any(
        t.numel() % 64 and t.isnan().any() for t in given
    ):
        return "PyTorch's gradient at NaN is the arriving one where a row of vectors ends, NaN elsewhere"
    if info.name == "nn.functional.interpolate" and dtype == "float32" and max(t.numel() for t in given) > 10**5:
        return "PyTorch's positions in large images are good to 1e-5 in float32"
    return None


CASES = [
    pytest.param(info, device, dtype, id=f"{opinfo.name_of(info)}-{device}-{dtype}")
    for info in opinfo.entries()
    for device, dtype in RUNS
    if getattr(torch, dtype) in info.dtypes
]


@pytest.mark.parametrize("info, device, dtype", CASES)
def test_operator(info, device, dtype, full, record_property):
    samples = []
    for every, most in ((opinfo.samples, MANY), (opinfo.reference_samples, FEW)):
        found = every(info, getattr(torch, dtype))
        if len(found) > most and not full:
            found = [found[i] for i in np.random.default_rng(0).choice(len(found), most, replace=False)]
        samples += found
    forms, failures, passed, excluded = opinfo.forms(info), [], 0, 0
    assert forms, "no spelling to compare"
    for sample in samples:
        if left_out(info, device, dtype, sample):
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
