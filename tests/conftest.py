"""What several test files share, and what every test starts from."""

import gc
import os
import shutil
import tracemalloc

import hypothesis
import numpy as np
import pytest
from kernels import precompile_header

import minigrad as mg
from minigrad.backend import numpy_threads, tracing
from minigrad.backend.default import _default, _devices
from minigrad.engine.modes import State, state

for name in (
    "PYTHONWARNINGS",
    "MINIGRAD_DEBUG",
):  # what tests start in other processes is to speak as it does by default
    os.environ.pop(name, None)

# Before the test files are imported, whose own settings build on it; the environment (CI=1) would choose another one.
hypothesis.settings.register_profile("minigrad", max_examples=60, deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("minigrad")


def pytest_addoption(parser):
    group = parser.getgroup("minigrad")
    group.addoption(
        "--samples", type=int, help="cases that each generator and fuzzer tries, instead of its own small number"
    )
    group.addoption("--seed", type=int, default=0, help="where the generators and fuzzers start")


def pytest_report_header(config):
    count = config.getoption("--samples")
    return f"generators: seed {config.getoption('--seed')}, " + (
        "their own counts" if count is None else f"{count} cases"
    )


def pytest_itemcollected(item):
    """hypothesis's tests take their number and seed from the options, too."""
    test, count, start = getattr(item, "obj", None), item.config.getoption("--samples"), item.config.getoption("--seed")
    if not hypothesis.is_hypothesis_test(test):
        return
    if count is not None:
        own = test._hypothesis_internal_use_settings or hypothesis.settings.default
        test._hypothesis_internal_use_settings = hypothesis.settings(own, max_examples=count)
    if start:
        hypothesis.seed(start)(test)


# --- what every test starts from, and leaves behind -------------------------------------------------------------------
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    mg.manual_seed(0)  # for fixtures that several tests share


@pytest.fixture(autouse=True)
def same_start():
    """minigrad's generator starts anew for each test. A test that leaves anything else changed for the next one fails."""
    mg.manual_seed(0)
    before = global_state()
    yield
    after = global_state()
    changed = [told(name, before[name], after[name]) for name in before if before[name] != after[name]]
    if changed:
        restore(before)
        pytest.fail("the test left behind: " + "; ".join(changed), pytrace=False)


NOT_OURS = {
    "PYTEST_CURRENT_TEST",
    "KMP_DUPLICATE_LIB_OK",
    "TORCHINDUCTOR_CACHE_DIR",
}  # pytest's, threadpoolctl's, PyTorch's
MODES = [name for name in vars(State) if not name.startswith("_")]


def global_state() -> dict:
    return {
        **{name: getattr(state, name) for name in MODES},
        "default device": (*_default, *_devices.entered),
        "threads": mg.get_num_threads(),
        "compiling": tracing.port.tracer,
        "numpy's handling of errors": np.geterr(),
        "folder": os.getcwd(),
        "environment": {k: v for k, v in os.environ.items() if k not in NOT_OURS},
        "garbage collection": (gc.isenabled(), gc.get_debug()),
        "tracemalloc": tracemalloc.is_tracing(),
    }


def told(name, before, after) -> str:
    if name != "environment":
        return f"{name}: {before} -> {after}"
    return f"environment: {', '.join(sorted(k for k in {*before, *after} if before.get(k) != after.get(k)))}"


def restore(before: dict) -> None:
    for name in MODES:
        setattr(state, name, before[name])
    _default[0], *_devices.entered = before["default device"]
    numpy_threads._State.threads = before["threads"]
    np.seterr(**before["numpy's handling of errors"])
    os.chdir(before["folder"])
    for name in set(os.environ) - NOT_OURS:
        del os.environ[name]
    os.environ.update(before["environment"])
    gc.enable() if before["garbage collection"][0] else gc.disable()
    gc.set_debug(before["garbage collection"][1])
    if tracemalloc.is_tracing() and not before["tracemalloc"]:
        tracemalloc.stop()


@pytest.fixture
def samples(request):
    """A function of a generator's own number of cases: what --samples says instead, where it is given."""
    given = request.config.getoption("--samples")
    return lambda own: own if given is None else given


@pytest.fixture
def seed(request) -> int:
    return request.config.getoption("--seed")


@pytest.fixture(params=["cpu", "mlx"])
def device(request):
    """Both backends; MLX only where it is installed."""
    if request.param == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return request.param


@pytest.fixture(scope="session")
def compiles():
    """MLX, where it can compile: for the CPU it does so with g++."""
    mx = pytest.importorskip("mlx.core", exc_type=ImportError)
    if mx.default_device().type == mx.DeviceType.cpu and shutil.which("g++") is None:
        pytest.skip("MLX compiles with g++")
    precompile_header()
    return mx


@pytest.fixture(autouse=True, scope="session")
def no_mlx_array_that_a_mac_lacks():
    """Every test runs under the watch over MLX's dtypes."""
    try:
        import mlx.core  # noqa: F401
    except ImportError:
        yield
        return
    from mlx_dtypes import watch

    with watch():
        yield
