"""What PyTorch's operator database says PyTorch refuses (`error_inputs`) is refused by minigrad, in a sentence of its own."""

import functools
import re
import warnings
from pathlib import Path

import opinfo
import pytest
import torch

import minigrad as mg
from minigrad.autograd import REGISTRY
from minigrad.nn import functional as F

KINDS = (TypeError, ValueError, IndexError, RuntimeError)
RAW = re.compile(
    r"object has no|object is not|unsupported operand|incompatible function|ambiguous|\[\w+\] |0x|numpy|input array"
)
OPERATIONS = {*mg.functions.__all__, *vars(F), *REGISTRY}
# The calls that minigrad takes on purpose; docs/differences.md gives the reasons.
NUMBERS = set(
    "eq ne lt le gt ge maximum minimum logical_and logical_or __radd__ __rmul__ __rand__ __ror__ __rxor__".split()
)
POSITIONS = {"gather", "scatter_add"}
ACCEPTED = {"cpu": NUMBERS, "mlx": NUMBERS | POSITIONS}

INFOS = [info for info in opinfo.entries() if info.error_inputs_func is not None]


@functools.cache
def cases(name: str) -> list:
    """The calls of one entry; making them takes the database longer than minigrad takes to refuse them."""
    return list(next(info for info in INFOS if opinfo.name_of(info) == name).error_inputs("cpu"))


class Arguments(opinfo.Arguments):
    """Tensors of more dimensions than numpy arrays have are reshaped into them; MLX gets float32 for float64."""

    def tensor(self, t):
        if self.device == "mlx" and t.dtype is torch.float64:
            t = t.float()
        if t.ndim > 64:
            return mg.tensor(t.reshape(-1).numpy(), device=self.device).reshape(*t.shape)
        return super().tensor(t)


def left_out(device, name, error) -> bool:
    """A difference of dtypes that is gone where float64 became float32."""
    return device == "mlx" and name == "scatter_add" and "dtype" in str(error.error_regex)


def accepted(device, name, sample) -> bool:
    """Whether a call is of the kind that minigrad takes on purpose."""
    arguments = [sample.input, *sample.args]
    if name in NUMBERS:
        return sorted(isinstance(a, torch.Tensor) for a in arguments) == [False, True]
    return device == "mlx" and name in POSITIONS and int(arguments[2].max()) >= arguments[0].shape[arguments[1]]


def complaint(form, sample, device) -> tuple[Exception | None, bool]:
    """What minigrad raises, and whether it does so when the tensors are made already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            args, kwargs = Arguments((sample.input, *sample.args), sample.kwargs, device).own
        except Exception as error:  # of whatever kind; it is judged below
            return error, True
        try:
            form(*args, **kwargs)
        except Exception as error:
            return error, False
    return None, False


def problem(error: Exception, made: bool) -> str | None:
    """What is wrong with an error."""
    text = f"{type(error).__name__}: {error}"
    if type(error) not in KINDS:
        return f"another kind of exception, {text}"
    if "\n" in text or not 15 < len(text) < 300 or RAW.search(text):
        return f"no sentence of minigrad's, {text}"
    name = re.match(r"(\w+)(\(\)|:| )", str(error))
    if not made and (name is None or name[1] not in OPERATIONS):
        return f"names no operation, {text}"
    return None


@pytest.mark.parametrize("device", ["cpu", "mlx"])
@pytest.mark.parametrize("info", INFOS, ids=opinfo.name_of)
def test_refused(info, device, record_property):
    if device == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    forms, name = opinfo.forms(info), opinfo.name_of(info)
    refused, taken, total, failures = 0, 0, 0, []
    for case in cases(name):
        sample, total = case.sample_input, total + 1
        if left_out(device, name, case):
            taken += 1
            continue
        errors = [complaint(form, sample, device) for form in forms.values()]
        if None in [error for error, _ in errors]:
            if name in ACCEPTED[device] and accepted(device, name, sample):
                taken += 1
            else:
                failures.append(f"{opinfo.described(sample)} is accepted; PyTorch: {case.error_regex}")
            continue
        bad = [found for error, made in errors if (found := problem(error, made))]
        failures += [f"{opinfo.described(sample)}: {found}" for found in bad]
        refused += not bad
    if total:
        record_property("rate", (f"refused: {name}", device, refused, taken, total))
    assert not failures, f"{len(failures)} of {total}:\n" + "\n".join(failures[:10])
    assert (name in ACCEPTED[device]) <= (taken > 0), f"{name} needs no exception any more"


def test_the_page_lists_what_is_accepted():
    page = (Path(__file__).parents[2] / "docs" / "differences.md").read_text(encoding="utf-8")
    lists = dict(re.findall(r"^- (a number|positions out of range)[^:\n]*: (.+)$", page, re.M))
    named = {reason: set(re.findall(r"`(\w+)`", names)) for reason, names in lists.items()}
    assert named == {"a number": NUMBERS, "positions out of range": POSITIONS}
    assert {*NUMBERS, *POSITIONS} <= {info.name for info in INFOS}
