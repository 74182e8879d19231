"""What several test files share."""

import pytest


@pytest.fixture(params=["cpu", "mlx"])
def device(request):
    """Both backends; MLX only where it is installed."""
    if request.param == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return request.param
