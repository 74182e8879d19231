"""Random programs in minigrad and in PyTorch: see `programs.py`. A failing one is printed with its number, for both libraries."""

from typing import NamedTuple

import pytest
from program_author import program
from programs import difference, report, shortened


class Setting(NamedTuple):
    device: str
    high: str  # the programs' dtype
    low: str  # a narrower one, cast to on the way
    tolerance: float
    low_tolerance: float
    nudge: float = 0.0  # inputs are changed by this much to see how much of a difference is rounding


SETTINGS = {
    "float64": Setting("cpu", "float64", "float32", 1e-9, 1e-4, 1e-9),
    "float16": Setting("cpu", "float32", "float16", 1e-3, 3e-2, 1e-3),
    "mlx": Setting("mlx", "float32", "bfloat16", 1e-3, 2e-1, 1e-2),
}
WITHOUT: tuple = ()  # features of the programs to leave out, see FEATURES in program_author.py


@pytest.mark.parametrize("setting", SETTINGS)
def test_programs(setting, samples, seed):
    if setting == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    own = SETTINGS[setting]
    for number in range(samples(300 if setting != "mlx" else 60)):
        lines = program(seed, number, own, WITHOUT)
        found = difference(lines, own)
        if found is not None:
            lines = shortened(lines, own)
            what, text = difference(lines, own)
            pytest.fail(f"program {number} of seed {seed}, {what}: {text}\n\n{report(lines, own)}", pytrace=False)
