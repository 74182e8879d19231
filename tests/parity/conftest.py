"""The parity suites need PyTorch: `pip install -e ".[parity]"`, then `pytest tests/parity`. Without it they are skipped."""

import importlib.util
from collections import defaultdict

import pytest

HAVE_TORCH = importlib.util.find_spec("torch") is not None


class WithoutTorch(pytest.Module):
    def collect(self):
        pytest.skip("PyTorch is not installed: pip install -e '.[parity]'")


def pytest_pycollect_makemodule(module_path, parent):
    return None if HAVE_TORCH else WithoutTorch.from_parent(parent, path=module_path)


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="all samples of the suites that are otherwise drawn from")


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def full(request) -> bool:
    return request.config.getoption("--full", False)


def pytest_terminal_summary(terminalreporter):
    """The pass rates that the tests recorded: `record_property("rate", (suite, column, passed, excluded, total))`."""
    rates: dict = defaultdict(dict)
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for _, (suite, column, *counts) in (p for p in report.user_properties if p[0] == "rate"):
                rates[suite][column] = counts
    if not rates:
        return
    columns = sorted({column for row in rates.values() for column in row})
    terminalreporter.section("parity with PyTorch: passed / samples (left out)")
    terminalreporter.line(f"{'':52}" + "".join(f"{c:>17}" for c in columns))
    for suite, row in sorted(rates.items()):
        terminalreporter.line(f"{suite:52}" + "".join(f"{cell(row.get(c)):>17}" for c in columns))
    sums = {c: [sum(n) for n in zip(*(row[c] for row in rates.values() if c in row), strict=True)] for c in columns}
    terminalreporter.line(f"{'all':52}" + "".join(f"{cell(sums[c]):>17}" for c in columns))


def cell(counts) -> str:
    if counts is None:
        return ""
    passed, excluded, total = counts
    return f"{passed}/{total}" + (f" ({excluded})" if excluded else "")
