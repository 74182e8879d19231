"""MLX's kernels against their definitions: every form of the depthwise convolution, attention with and without a derivative
to follow, and the texts of the Metal kernels, compiled here as C++."""

import ctypes
import itertools
import shutil
import subprocess

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F

mx = pytest.importorskip("mlx.core", exc_type=ImportError)
from minigrad.kernels.mlx import depthwise, metal  # noqa: E402

SHAPES = [  # image (N, H, W, C), kernel, stride, padding, dilation
    ((2, 5, 6, 4), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((1, 1, 1, 3), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((2, 7, 6, 3), (5, 2), (1, 1), (1, 0), (1, 2)),
    ((2, 7, 8, 3), (3, 3), (2, 2), (1, 1), (1, 1)),
    ((2, 6, 5, 2), (3, 2), (2, 1), (3, 2), (2, 1)),  # more padding than the kernel reaches over
]


def derivatives(image, kernel, stride, padding, dilation, device="mlx", dtype="float32"):
    """(y, dx, dw, db) of a depthwise convolution."""
    n, h, w, c = image
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.normal(size=s) for s in ((n, c, h, w), (c, 1, *kernel), (c,)))
    x, weight, bias = (mg.tensor(a, dtype=dtype, device=device).requires_grad_() for a in (x, weight, bias))
    y = F.conv2d(x, weight, bias, stride, padding, dilation, groups=c)
    g = mg.tensor(rng.normal(size=y.shape), dtype=dtype, device=device)
    return [t.numpy() for t in (y, *mg.grad(y, (x, weight, bias), g))]


@pytest.fixture
def forms():
    yield depthwise.set_forms
    depthwise.set_forms()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", ["native", "shifts", pytest.param("metal", marks=pytest.mark.metal)])
def test_every_form_of_the_depthwise_convolution(form, shape, forms):
    if form == "metal" and not mx.metal.is_available():
        pytest.skip("needs Apple's GPU")
    forms(forward=form, input=form, weight=form)
    for got, expected in zip(derivatives(*shape), derivatives(*shape, device="cpu", dtype="float64"), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_forms_are_chosen_by_name(forms):
    forms(weight="native")
    assert depthwise.forms()["weight"] == "native" and depthwise.forms()["forward"] in depthwise.FORMS
    for wrong in ({"forward": "fast"}, {"sideways": "shifts"}):
        with pytest.raises(ValueError, match="the parts are forward, input, weight, their forms native, shifts, metal"):
            forms(**wrong)
    if not mx.metal.is_available():
        with pytest.raises(ValueError, match="needs Apple's GPU"):
            forms(forward="metal")


# --- the Metal kernels' texts -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def as_cpp(tmp_path_factory):
    """The kernels' bodies as C++ functions of (pointers…, geometry, grid), run for every thread of the grid in turn."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("metal")
    text = "struct uint3 { unsigned x, y, z; };\ntypedef float T;\n"
    for name, body, arguments in (
        ("forward", metal.FORWARD, "const float* x, const float* taps, float* y"),
        ("taps_sums", metal.TAPS, "const float* g, const float* x, float* sums"),
    ):
        text += f'extern "C" void {name}({arguments}, const int* geometry, const int* grid) {{\n'
        text += f"auto body = [&](uint3 thread_position_in_grid) {{ {body} }};\n"
        text += "for (unsigned x = 0; x < grid[0]; ++x) for (unsigned y = 0; y < grid[1]; ++y) for (unsigned z = 0; z < grid[2]; ++z)"
        text += " body(uint3{x, y, z}); }\n"
    (folder / "kernels.cpp").write_text(text)
    library = folder / "kernels.so"
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", str(folder / "kernels.cpp"), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_metal_kernels_texts(shape, as_cpp, monkeypatch, forms):
    """The launches as they are, with a stand-in for the GPU that runs the same text on the CPU."""

    def metal_kernel(name, input_names, output_names, source):
        def launch(inputs, grid, threadgroup, output_shapes, output_dtypes, template=()):
            assert np.prod(threadgroup) <= 1024 and all(t <= g for t, g in zip(threadgroup, grid, strict=True))
            assert len(inputs) == len(input_names) and len(output_names) == 1
            arrays = [np.ascontiguousarray(np.array(a)) for a in inputs]
            out = np.full(output_shapes[0], np.nan, np.float32)
            function = as_cpp.forward if "sums" not in output_names else as_cpp.taps_sums
            *given, geometry = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]
            function(*given, out.ctypes.data_as(ctypes.c_void_p), geometry, (ctypes.c_int * 3)(*grid))
            return [mx.array(out)]

        return launch

    monkeypatch.setattr(mx.fast, "metal_kernel", metal_kernel)
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    metal._kernel.cache_clear()
    forms(forward="metal", input="metal", weight="metal")
    try:
        for got, expected in zip(derivatives(*shape), derivatives(*shape, device="cpu", dtype="float64"), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    finally:
        metal._kernel.cache_clear()


# --- attention --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("heads, kv_heads", [((2, 3), (2, 3)), ((2, 3), (3,)), ((), ()), ((2, 1), (1, 3))])
def test_attention_with_and_without_a_derivative_to_follow(heads, kv_heads):
    """The same values from MLX's kernel (inference) and from the weights that training keeps; derivatives of numpy's float64,
    also where leading dimensions broadcast."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(*lead, n, 8)) for lead, n in ((heads, 5), (kv_heads, 7), (kv_heads, 7))]
    found = {}
    for device, dtype in (("cpu", "float64"), ("mlx", "float32")):
        q, k, v = (mg.tensor(a, dtype=dtype, device=device).requires_grad_() for a in arrays)
        y = F.scaled_dot_product_attention(q, k, v, scale=0.3)
        g = mg.tensor(np.cos(np.arange(y.numel())).reshape(y.shape), dtype=dtype, device=device)
        with mg.no_grad():
            inference = F.scaled_dot_product_attention(q, k, v, scale=0.3)
        found[device] = [t.numpy() for t in (y, *mg.grad(y, (q, k, v), g), inference)]
    for got, expected in zip(found["mlx"], found["cpu"], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("affine", list(itertools.product([False, True], repeat=2)), ids=str)
def test_layer_norm_of_large_numbers(affine):
    """A row far from zero: the variance is that of the differences from the mean, not a difference of large squares."""
    x = 1000 + np.random.default_rng(0).normal(size=(3, 64))
    parameters = [np.linspace(0.5, 1.5, 64) if wanted else None for wanted in affine]
    found = {}
    for device, dtype in (("cpu", "float64"), ("mlx", "float32")):
        t = mg.tensor(x, dtype=dtype, device=device).requires_grad_()
        w, b = (None if p is None else mg.tensor(p, dtype=dtype, device=device) for p in parameters)
        y = F.layer_norm(t, 64, w, b)
        found[device] = [y.numpy(), mg.grad(y, t, y.detach() * y.detach())[0].numpy()]
    for got, expected in zip(found["mlx"], found["cpu"], strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_the_watch_over_dtypes_sees():
    """conftest.py has it open in every test."""
    for make in (lambda: mx.zeros(2, mx.float64), lambda: mx.array(1.0).astype(mx.complex64)):
        with pytest.raises(AssertionError, match="which Apple's GPU lacks"):
            make()
