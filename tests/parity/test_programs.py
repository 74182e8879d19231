"""Random programs in minigrad and in PyTorch: see `programs.py`. A failing one is printed with its number, for both libraries.

`pytest tests/parity/test_programs.py --samples 10000 --seed 7` tries more. A feature that is known to be wrong can be left out for
a while, to look for what else is: its name goes into `WITHOUT`.
"""

import ast

import pytest
from program_author import program
from programs import Setting, difference, printed, report, shortened

import minigrad as mg

SETTINGS = {
    "float64": Setting("cpu", "float64", "float32", 1e-9, 1e-4, 1e-9),
    "float16": Setting("cpu", "float32", "float16", 1e-3, 3e-2, 1e-3),
    "mlx": Setting("mlx", "float32", "bfloat16", 1e-3, 2e-1, 1e-2),
}
WITHOUT: tuple = ()  # names out of FEATURES in program_author.py


@pytest.fixture(params=SETTINGS)
def setting(request):
    if request.param == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return SETTINGS[request.param]


def test_programs(setting, samples, seed):
    for number in range(samples(300 if setting.device == "cpu" else 60)):
        lines = program(seed, number, setting, WITHOUT)
        found = difference(lines, setting)
        if found is not None:
            short = shortened(lines, setting)
            what, text = difference(short, setting)
            pytest.fail(
                f"program {number} of seed {seed}, {what}: {text}\n\n{report(short, setting)}\n\n# in full:\n{printed(lines)}",
                pytrace=False,
            )


def test_a_fault_is_found_and_its_program_made_short(monkeypatch):
    """A hook that is called twice in place of once, and a softmax whose gradient is half of what it should be."""
    setting = SETTINGS["float64"]
    add_hook = mg.Tensor.register_hook

    def twice(tensor, hook):
        add_hook(tensor, lambda g: hook(g) and None)
        return add_hook(tensor, hook)

    softmax = mg.softmax
    halved = lambda x, dim: (softmax(x, dim) + softmax(x, dim).detach()) * 0.5  # noqa: E731
    for owner, name, wrong, what in ((mg.Tensor, "register_hook", twice, "calls"), (mg, "softmax", halved, "grad")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, wrong)
            failing = (lines for n in range(300) if (lines := program(0, n, setting)) and fails(lines, setting, what))
            lines = shortened(next(failing), setting)
            assert difference(lines, setting)[0] == what
            assert len(lines) <= 8, printed(lines)
        assert difference(lines, setting) is None
        ast.parse(report(lines, setting))


def fails(lines, setting, what):
    found = difference(lines, setting)
    return found is not None and found[0] == what


def test_a_program_is_made_again_by_its_number():
    setting = SETTINGS["float64"]
    for number in range(20):
        lines = program(3, number, setting)
        assert lines == program(3, number, setting) and lines != program(4, number, setting)
        ast.parse(report(lines, setting))
