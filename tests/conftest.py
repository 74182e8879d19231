"""What several test files share."""

import shutil

import pytest
from kernels import precompile_header


def pytest_addoption(parser):
    group = parser.getgroup("minigrad")
    group.addoption(
        "--samples", type=int, help="cases that each generator and fuzzer tries, instead of its own small number"
    )
    group.addoption("--seed", type=int, default=0, help="where the generators and fuzzers start")


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
