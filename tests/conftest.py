"""What several test files share."""

import pytest


@pytest.fixture(params=["cpu", "mlx"])
def device(request):
    """Both backends; MLX only where it is installed."""
    if request.param == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return request.param


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
