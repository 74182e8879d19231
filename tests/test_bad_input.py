"""A user's mistake with an operation gets one sentence: which operation, what came, what was expected."""

import inspect
import pickle
import re

import numpy as np
import op_table_nn  # noqa: F401  (adds its rows)
import pytest
from op_table import ROWS, Row, X

import minigrad as mg
from minigrad.backend import BackendError
from minigrad.nn import functional as F

x23, x34, x5 = mg.ones(2, 3), mg.ones(3, 4), mg.ones(5)
leaf = mg.ones(2, 3, requires_grad=True)
whole = mg.tensor([0, 1])
image, kernel = mg.ones(2, 3, 8, 8), mg.ones(4, 3, 3, 3)


def silent_view(t):
    with mg.no_grad():
        return t[0]


def assign(t, index, value):
    t[index] = value


# what is called, the exception, words of the sentence
CASES = [
    # shapes
    (lambda: x23 + x34, ValueError, "add (2, 3) (3, 4) broadcast"),
    (lambda: mg.where(x23 > 0, x34, 1.0), ValueError, "where (2, 3) (3, 4) broadcast"),
    (lambda: x23 @ x23, ValueError, "matmul (2, 3) 3 2"),
    (lambda: x23 @ mg.tensor(2.0), ValueError, "matmul () *"),
    (lambda: mg.mm(x5, x23), ValueError, "mm (5,) (2, 3)"),
    (lambda: mg.bmm(mg.ones(2, 3, 4), mg.ones(3, 4, 5)), ValueError, "bmm (2, 3, 4) (3, 4, 5)"),
    (lambda: mg.dot(x23, x5), ValueError, "dot (2, 3) (5,)"),
    (lambda: F.linear(x23, x34), ValueError, "linear (2, 3) (3, 4)"),
    (lambda: F.linear(x23, mg.ones(4, 3), x5), ValueError, "linear bias (5,) (4,)"),
    (lambda: mg.einsum("ij,jk->ik", x23, x23), ValueError, "einsum j 3 2"),
    (lambda: mg.einsum("ij,jk->ik", x23), ValueError, "einsum 2 1"),
    (lambda: mg.einsum("ijk->i", x23), ValueError, "einsum ijk (2, 3)"),
    (lambda: mg.einsum("ij->x", x23), ValueError, "einsum x"),
    (lambda: x23.reshape(4, 2), ValueError, "reshape 6 (2, 3) (4, 2)"),
    (lambda: x23.reshape(-1, -1), ValueError, "reshape (2, 3) (-1, -1)"),
    (lambda: x23.permute(0, 0), ValueError, "permute (0, 0) (2, 3)"),
    (lambda: x23.expand(3, 3), ValueError, "(2, 3) (3, 3)"),
    (lambda: x23.repeat(2), ValueError, "repeat 1 2"),
    (lambda: x23.flatten(1, 0), ValueError, "flatten start_dim end_dim"),
    (lambda: mg.cat([x23, x34]), ValueError, "cat (2, 3) (3, 4)"),
    (lambda: mg.stack([x23, x34]), ValueError, "stack (2, 3) (3, 4)"),
    (lambda: mg.cat([]), TypeError, "cat at least one"),
    (lambda: x23.split([1, 1, 1], 1)[0].split([2, 2]), ValueError, "split (2, 2) 2 (2, 1)"),
    (lambda: x5.chunk(0), ValueError, "chunk 0"),
    (lambda: x5.tril(), ValueError, "tril 2 (5,)"),
    (lambda: x23.t().unsqueeze(0).t(), ValueError, "t() 2 (1, 3, 2)"),
    (lambda: F.pad(x5, (1, 2, 3)), ValueError, "pad 3 1"),
    (lambda: F.pad(x5, (1, 2), mode="mirror"), ValueError, "pad constant mirror"),
    (lambda: F.layer_norm(x23, (4,)), ValueError, "layer_norm (2, 3) (4,)"),
    (lambda: F.layer_norm(x23, (3,), x5), ValueError, "layer_norm weight (5,) (3,)"),
    (lambda: F.group_norm(image, 2), ValueError, "group_norm (2, 3, 8, 8) 2"),
    (lambda: F.batch_norm(mg.ones(1, 3), None, None, training=True), ValueError, "batch_norm (1, 3)"),
    (lambda: F.batch_norm(x23, None, mg.ones(3)), ValueError, "batch_norm both running_mean running_var"),
    (lambda: F.scaled_dot_product_attention(x23, x34, x34), ValueError, "scaled_dot_product_attention (2, 3) (3, 4)"),
    (lambda: F.mse_loss(x23, x5), ValueError, "mse_loss (2, 3) (5,)"),
    (lambda: F.cross_entropy(x23, mg.tensor([0, 1, 2])), ValueError, "cross_entropy (2, 3) (3,)"),
    (lambda: F.cross_entropy(x23, x5), ValueError, "cross_entropy (2, 3) (5,)"),
    (lambda: F.nll_loss(x23, mg.tensor([[0], [1]])), ValueError, "nll_loss (2, 3) (2, 1)"),
    # images
    (lambda: F.conv2d(image, mg.ones(4, 2, 3, 3)), ValueError, "conv2d (2, 3, 8, 8) 3 (4, 2, 3, 3) 2"),
    (lambda: F.conv2d(image, kernel, x5), ValueError, "conv2d bias (5,) (4,)"),
    (lambda: F.conv2d(image, kernel, groups=2), ValueError, "conv2d groups=2"),
    (lambda: F.conv2d(x23, kernel), ValueError, "conv2d (N, C, H, W) (2, 3)"),
    (lambda: F.conv2d(image, kernel, stride=0), ValueError, "conv2d stride 1"),
    (lambda: F.conv2d(image, kernel, stride=(1, 2, 3)), ValueError, "stride (1, 2, 3)"),
    (lambda: F.conv2d(image, kernel, padding="same", stride=2), ValueError, "conv2d same stride 1"),
    (lambda: F.conv2d(mg.ones(1, 3, 2, 2), kernel), ValueError, "conv2d (3, 3) (2, 2)"),
    (lambda: F.conv_transpose2d(image, kernel), ValueError, "conv_transpose2d 3 (4, 3, 3, 3)"),
    (lambda: F.conv_transpose2d(image, mg.ones(3, 4, 2, 2), output_padding=1), ValueError, "output_padding stride"),
    (lambda: F.avg_pool2d(image, 9), ValueError, "avg_pool2d (9, 9) (8, 8)"),
    (lambda: F.avg_pool2d(image, 2, padding=2), ValueError, "avg_pool2d padding (2, 2)"),
    (lambda: F.max_pool2d(x23, 2), ValueError, "max_pool2d (N, C, H, W) (2, 3)"),
    (lambda: F.adaptive_avg_pool2d(x23, 2), ValueError, "adaptive_avg_pool2d (2, 3)"),
    (lambda: F.adaptive_avg_pool2d(image, (1, 2, 3)), ValueError, "adaptive_avg_pool2d (1, 2, 3)"),
    (lambda: F.interpolate(image, (1, 2, 3)), ValueError, "interpolate (1, 2, 3)"),
    (lambda: F.avg_pool2d(image, 2.5), ValueError, "kernel_size 2.5"),
    (lambda: F.interpolate(image), ValueError, "interpolate size scale_factor"),
    (lambda: F.interpolate(image, 4, mode="cubic"), ValueError, "interpolate bilinear cubic"),
    (lambda: F.interpolate(image, 4, align_corners=True), ValueError, "interpolate align_corners bilinear"),
    # dtypes and what is no tensor
    (lambda: x23 + "1", TypeError, "add str"),
    (lambda: x23 * np.ones(3), TypeError, "mul ndarray mg.tensor"),
    (lambda: x23 + [1, 2, 3], TypeError, "add list mg.tensor"),
    (lambda: mg.exp(np.ones(3)), TypeError, "exp mg.tensor"),
    (lambda: mg.maximum(1, 2), TypeError, "maximum int mg.tensor"),
    (lambda: x23 @ x34.astype("float64"), TypeError, "matmul float32 float64 .astype"),
    (lambda: F.conv2d(image, kernel.astype("float64")), TypeError, "conv2d float32 float64"),
    (lambda: mg.cat([x23, 1.0]), TypeError, "cat Tensor float"),
    (lambda: whole.mean(), TypeError, "mean int64 .float()"),
    (lambda: F.cross_entropy(x23, mg.tensor([True, False])), TypeError, "integers bool .long()"),
    (lambda: F.nll_loss(x23, mg.ones(2)), TypeError, "integers float32 .long()"),
    (lambda: F.one_hot(x5), TypeError, "one_hot integers float32 .long()"),
    (lambda: whole.requires_grad_(), RuntimeError, "floating point int64"),
    (lambda: x23.astype("float8"), TypeError, "float8 float32"),
    (lambda: x23.to("bfloat16"), TypeError, "bfloat16 float32 mlx"),
    (lambda: -mg.tensor([True]), TypeError, "neg bool"),
    (lambda: mg.tensor([True]) - mg.tensor([True]), TypeError, "sub bool"),
    (lambda: x5.clamp("0"), TypeError, "clamp"),
    (lambda: F.linear(np.ones((2, 3), np.float32), x23), TypeError, "linear ndarray mg.tensor"),
    (lambda: F.embedding(x5, x34), IndexError, "integers float32 .long()"),
    (lambda: mg.gather(x23, 0, x23), IndexError, "integers float32 .long()"),
    (lambda: mg.index_select(x23, 0, x5), IndexError, "integers float32 .long()"),
    (lambda: F.cross_entropy(x23, whole, weight=x5), ValueError, "weight (5,) (3,)"),
    (lambda: F.nll_loss(x23, whole, weight=x5), ValueError, "weight (5,) (3,)"),
    (lambda: F.gelu(x5, approximate="fast"), ValueError, "gelu none tanh fast"),
    (lambda: mg.div(x5, 2, rounding_mode="up"), ValueError, "rounding_mode floor trunc up"),
    (lambda: F.mse_loss(x5, x5, reduction="avg"), ValueError, "reduction mean avg"),
    (lambda: x5.clamp(), ValueError, "clamp min max"),
    (lambda: F.dropout(x5, 1.5), ValueError, "dropout [0, 1] 1.5"),
    (lambda: F.cross_entropy(x23, whole, label_smoothing=2), ValueError, "cross_entropy label_smoothing 2"),
    (lambda: F.scaled_dot_product_attention(x23, x23, x23, x23, is_causal=True), ValueError, "attn_mask is_causal"),
    (lambda: mg.where(x23, x23, x23), TypeError, "where condition boolean float32 != 0"),
    (lambda: x23.masked_fill(x23, 0), TypeError, "masked_fill mask boolean float32"),
    (lambda: mg.masked_select(x23, whole), TypeError, "masked_select mask boolean int64"),
    (lambda: x23.masked_fill(x23 > 0, mg.ones(1)), ValueError, "masked_fill value (1,) mg.where"),
    (lambda: mg.scatter_add(x5, 0, whole, whole), TypeError, "scatter_add float32 int64 .astype"),
    (lambda: mg.index_add(x5, 0, whole, whole), TypeError, "index_add float32 int64 .astype"),
    (lambda: mg.index_add(x23, 0, whole, mg.ones(3)), ValueError, "index_add (2,) dimension 0 (2, 3) (3,)"),
    (lambda: mg.index_add(x23, 0, whole, mg.ones(1, 3)), ValueError, "index_add (2,) dimension 0 (2, 3) (1, 3)"),
    (lambda: mg.index_add(x23, 0, mg.tensor([[0, 1]]), x23), ValueError, "index_add (1, 2) dimension 0 (2, 3)"),
    (lambda: F.embedding(whole, x5), ValueError, "embedding (V, D) (5,)"),
    (lambda: mg.cat(x23), TypeError, "cat list Tensor"),
    (lambda: mg.cat([x5, mg.tensor(1.0)]), ValueError, "cat (5,) () dimension 0"),
    (lambda: x5.roll([]), ValueError, "roll no shifts"),
    (lambda: mg.tensor(1.0).roll(1, 0), IndexError, "roll without dimension 0"),
    (lambda: mg.ones(1).reshape((1,) * 65), ValueError, "reshape 64 65"),
    (lambda: mg.zeros(*[1] * 65), ValueError, "64 65"),
    # positions and dimensions
    (lambda: x23.sum(2), IndexError, "dimension 2 -2 1"),
    (lambda: x23.sum((0, 0)), ValueError, "sum twice (0, 0)"),
    (lambda: x23.sum(0, axis=1), TypeError, "sum dim axis only one"),
    (lambda: x23.sum(0, True, keepdims=True), TypeError, "sum keepdim keepdims only one"),
    (lambda: x23.softmax(), TypeError, "softmax dim missing dim=-1"),
    (lambda: x23.std(correction="1"), TypeError, "std correction number str"),
    (lambda: whole.var(), TypeError, "var floating int64 .float()"),
    (lambda: x23.softmax(-3), IndexError, "dimension -3 -2 1"),
    (lambda: x23.transpose(0, 2), IndexError, "dimension 2"),
    (lambda: mg.tensor(1.0).select(0, 0), IndexError, "select dimension 0"),
    (lambda: mg.tensor(1.0).narrow(0, 0, 1), IndexError, "narrow dimension 0"),
    (lambda: mg.tensor(1.0).unbind(), IndexError, "unbind ()"),
    (lambda: x23.sum("rows"), TypeError, "integer"),
    (lambda: mg.masked_select(x23, x34 > 0), ValueError, "(2, 3) (3, 4)"),
    (lambda: mg.ones(0, 3).amax(), IndexError, "amax (0, 3)"),
    (lambda: mg.ones(0, 3).argmax(0), IndexError, "argmax (0, 3)"),
    (lambda: x23[2], IndexError, "2 dimension 0 length 2"),
    (lambda: x23[0, -4], IndexError, "-4 dimension 1 length 3"),
    (lambda: x23[[0, 5]], IndexError, "5 dimension 0 length 2"),
    (lambda: x23[0, 0, 0], IndexError, "3 2 (2, 3)"),
    (lambda: x23[..., ...], IndexError, "ellipsis"),
    (lambda: x23[0.5], IndexError, "index float"),
    (lambda: x23["a"], IndexError, "index str"),
    (lambda: x23[[0.5]], IndexError, "index integers float"),
    (lambda: x23[mg.ones(2)], IndexError, "index float32 .long()"),
    (lambda: x23[np.array([True, False, True])], IndexError, "boolean (3,) (2, 3)"),
    (lambda: x5[::0], ValueError, "step zero"),
    (lambda: mg.gather(x23, 0, mg.tensor([[2, 0, 0]])), IndexError, "2 dimension 0 length 2"),
    (lambda: mg.gather(x23, 0, whole), ValueError, "gather 1 2"),
    (lambda: mg.gather(x23, 0, mg.tensor([[0, 0, 0, 0]])), ValueError, "gather (1, 4) (2, 3)"),
    (lambda: mg.scatter_add(x23, 0, whole, x5), ValueError, "scatter_add (2, 3) (2,) (5,)"),
    (lambda: mg.index_select(x23, 0, mg.tensor([2])), IndexError, "2 dimension 0 length 2"),
    (lambda: mg.index_select(x23, 0, mg.tensor([[0]])), IndexError, "index_select (1, 1)"),
    (lambda: x23.narrow(1, 2, 2), IndexError, "narrow 1 (2, 3)"),
    (lambda: x23.narrow(1, whole, 2), TypeError, "narrow start int64 (2,)"),
    (lambda: x23.narrow(1, mg.tensor(True), 2), TypeError, "narrow start bool ()"),
    (lambda: x23.narrow(1, 0.5, 2), TypeError, "narrow start 0.5"),
    (lambda: F.embedding(mg.tensor([3]), x34), IndexError, "3 dimension 0 length 3"),
    (lambda: F.cross_entropy(x23, mg.tensor([0, 3])), IndexError, "class 2 3"),
    (lambda: F.one_hot(whole, 1), ValueError, "one_hot 0 1"),
    (lambda: len(mg.tensor(1.0)), TypeError, "len() dimensions"),
    (lambda: list(mg.tensor(1.0)), TypeError, "dimensions iterated"),
    (lambda: bool(x5), ValueError, "(5,) .any() .all()"),
    (lambda: x5.item(), ValueError, "item() (5,) tolist()"),
    # assignment, leaves, the tape
    (lambda: assign(leaf, 0, 1.0), RuntimeError, "leaf gradient no_grad()"),
    (lambda: assign(leaf.T, 0, 1.0), RuntimeError, "view leaf gradient no_grad()"),
    (lambda: leaf.add_(1), RuntimeError, "leaf gradient no_grad()"),
    (lambda: (leaf * 2).unbind()[0].mul_(2), RuntimeError, "several views clone()"),
    (lambda: silent_view(leaf * 2).mul_(2), RuntimeError, "no_grad clone()"),
    (lambda: mg.ones(2).expand(3, 2).add_(1), RuntimeError, "add_ (3, 2) expand() clone()"),
    (lambda: mg.ones(2).expand(3, 2).copy_(mg.ones(3, 2)), RuntimeError, "copy_ (3, 2) expand() clone()"),
    (lambda: mg.ones(2).add_(mg.ones(3, 2)), ValueError, "add_ (3, 2) (2,)"),
    (lambda: mg.arange(2).mul_(0.5), RuntimeError, "mul_ float32 int64"),
    (lambda: mg.ones(2).copy_(mg.ones(3)), ValueError, "copy_ (3,) (2,)"),
    (lambda: mg.arange(2).normal_(), TypeError, "normal_ int64"),
    (lambda: mg.ones(2).fill_(mg.ones(2)), ValueError, "fill_ (2,)"),
    (lambda: (leaf * 2).T.detach_(), RuntimeError, "detach_ view detach()"),
    (lambda: assign(mg.ones(2, 3), 0, mg.ones(2)), ValueError, "(2,) (2, 3)"),
    (lambda: assign(mg.ones(2), 5, 1.0), IndexError, "5 dimension 0 length 2"),
    (lambda: setattr(mg.ones(2), "data", [1.0]), TypeError, "ndarray list"),
    (lambda: leaf.__iadd__(1), RuntimeError, "leaf no_grad"),
    (lambda: (leaf * 2).backward(), RuntimeError, "(2, 3) .sum()"),
    (lambda: x23.sum().backward(), RuntimeError, "requires_grad"),
    (lambda: (leaf * 2).backward(mg.ones(3)), RuntimeError, "(3,) (2, 3)"),
    (lambda: (leaf * 2).requires_grad_(False), RuntimeError, "leaf .detach()"),
    (lambda: mg.tensor([[1.0], [1.0, 2.0]]), ValueError, "nested lists lengths"),
    (lambda: mg.tensor("abc"), TypeError, "str numbers"),
    (lambda: mg.full((2,), [1, 2]), TypeError, "full number list mg.tensor"),
    (lambda: mg.tensor([1j]), TypeError, "complex128"),
]  # fmt: skip


def sentence(error) -> str:
    """The message, which must be one line of readable length without the array library's own words in several."""
    text = str(error.value)
    assert "\n" not in text and 15 < len(text) < 260, text
    assert "object at 0x" not in text and "lambda" not in text, text
    return text


def holds(text: str, words: str) -> None:
    """Every word is in the text; a shape in its parentheses is one word."""
    missing = [word for word in re.findall(r"\([^)]*\)|\[[^]]*\]|\S+", words) if word not in text]
    assert not missing, f"{text!r} lacks {missing}"


@pytest.mark.parametrize(("call", "exception", "words"), CASES, ids=[c[2] for c in CASES])
def test_one_sentence(call, exception, words):
    with pytest.raises(exception) as error:
        call()
    holds(sentence(error), words)


# --- what is no tensor ------------------------------------------------------------------------------------------------
WRONG = ([1.0], np.ones(2), None, "x")
UNLISTED = [  # functions that the table of operations has as operators, or under other names
    Row("concat", mg.concat, ([X(2), X(3)],), ref=np.concatenate), Row("swapaxes", mg.swapaxes, (X(2, 3), 0, 1), ref=np.swapaxes),
    Row("matmul", mg.matmul, (X(2, 3), X(3, 2)), ref=np.matmul), Row("pow", mg.pow, (X(3), X(3)), ref=np.power),
    Row("contiguous", mg.contiguous, (X(3),), ref=np.copy), Row("view_as", mg.view_as, (X(4), X(2, 2)), ref=np.reshape),
    Row("getitem", mg.getitem, (X(3), 0), ref=np.take), Row("setitem", mg.setitem, (X(3), 0, 1.0), ref=np.put),
    Row("F.relu_", F.relu_, (X(3),), ref=np.copy), Row("F.leaky_relu_", F.leaky_relu_, (X(3),), ref=np.copy),
    Row("F.elu_", F.elu_, (X(3),), ref=np.copy), Row("F.selu_", F.selu_, (X(3),), ref=np.copy),
    Row("F.drop_path", F.drop_path, (X(3),), ref=np.copy), Row("mul", mg.mul, (X(3), X(3)), ref=np.multiply),
    Row("floor_divide", mg.floor_divide, (X(3), X(3)), ref=np.floor_divide),
    Row("remainder", mg.remainder, (X(3), X(3)), ref=np.remainder),
    Row("cast", mg.cast, (X(3),), {"dtype": "float32"}, ref=np.copy),
    Row("pad_zeros", mg.pad_zeros, (X(3),), {"widths": ((1, 1),)}, ref=np.copy),
]  # fmt: skip


def public(row) -> bool:
    return hasattr(F, row.name[2:]) if row.name.startswith("F.") else hasattr(mg, row.name)


CALLS = {(r.name, len(r.arrays())): r for r in reversed([*ROWS, *UNLISTED]) if public(r) and r.arrays()}


def parameter(row, values, i) -> inspect.Parameter | None:
    """The parameter that gets tensor number i, None where it gets it in a list."""
    bound = row.apply(lambda *args, **kwargs: inspect.signature(row.fn).bind(*args, **kwargs), values)
    names = [name for name, value in bound.arguments.items() if value is values[i]]
    return bound.signature.parameters[names[0]] if names else None


@pytest.mark.parametrize("row", CALLS.values(), ids=str)
def test_no_tensor(row, device):
    """Every public function says in one sentence which argument is no tensor."""
    values = [mg.tensor(a.astype("float32") if a.dtype.kind == "f" else a, device=device) for a in row.arrays()]
    name = row.name.removeprefix("F.")
    for i in range(len(values)):
        known = parameter(row, values, i)
        for wrong in WRONG:
            if wrong is None and known is not None and known.default is None:
                continue
            if wrong is None and known is not None and known.name.startswith("running_"):  # goes with the other's None
                continue
            if wrong is None and i and name == "conv_mlp":  # has no defaults, and None is some biases' value
                continue
            with pytest.raises(TypeError) as error:
                row.apply(row.fn, [*values[:i], wrong, *values[i + 1 :]])
            text = sentence(error)
            assert text.startswith(f"{row.fn.__name__}: "), text
            came = {list: "list|float|1.0", np.ndarray: "ndarray", type(None): "None", str: "str|'x'"}[type(wrong)]
            assert re.search(rf"got .*({came})", text), text
            if known is not None and name not in ("max", "min"):  # whose second argument may be a dimension
                assert known.name in text or "expected a tensor" in text or "expected tensors" in text, text


def test_no_tensor_is_tried_on_every_function():
    """Under its own name; its aliases are the same function."""
    public = [getattr(mg, name) for name in mg.functions.__all__]
    public += [f for name, f in vars(F).items() if inspect.isfunction(f) and not name.startswith("_")]
    assert {f.__name__ for f in public} - {"to_device"} <= {row.fn.__name__ for row in CALLS.values()}


def shown(function) -> str:
    """The signature without its types."""
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([p.replace(annotation=p.empty) for p in parameters]))


def test_public_functions_look_like_themselves():
    assert shown(mg.sum) == "(input, dim=None, keepdim=False, *, axis=None, keepdims=None, dtype=None)"
    assert shown(mg.reshape) == "(input, *sizes, shape=())"
    assert mg.sum.__annotations__["input"] is mg.sum.__annotations__["return"] is mg.Tensor
    assert mg.sum.__doc__.startswith("Σ of the elements") and mg.sum.__name__ == "sum"
    assert pickle.loads(pickle.dumps([mg.sum, F.gelu])) == [mg.sum, F.gelu]
    assert mg.Tensor.sum is mg.sum


def test_numbers_that_must_be_tensors():
    for call, words in [
        (lambda: mg.sum(3), "sum input tensor int"), (lambda: mg.matmul(x23, 2), "matmul other tensor int"),
        (lambda: mg.max(2, 3), "max input int"), (lambda: mg.where(True, x23, x23), "where condition bool"),
        (lambda: mg.einsum("ij", 3), "einsum operands int"), (lambda: mg.einsum(3, x23), "einsum equation int"),
        (lambda: F.cross_entropy(x23, 1), "cross_entropy target int"), (lambda: x23 @ 2.0, "matmul other float"),
    ]:  # fmt: skip
        with pytest.raises(TypeError) as error:
            call()
        holds(sentence(error), words)


def test_whole_numbers_where_only_floats_have_a_meaning(device):
    x = mg.ones(2, 4, 4, device=device).long()
    mlp = [mg.ones(*shape, device=device).long() for shape in ((3, 4), (3,), (3, 1, 3, 3), (3,), (2, 3), (2,))]
    for name, call in [
        ("layer_norm", lambda: F.layer_norm(x, 4)), ("layer_norm", lambda: mg.layer_norm(x, 4)),
        ("group_norm", lambda: F.group_norm(x, 2)), ("conv_mlp", lambda: F.conv_mlp(x, *mlp, size=(2, 2), relu=False)),
        ("scaled_dot_product_attention", lambda: F.scaled_dot_product_attention(x, x, x)),
    ]:  # fmt: skip
        with pytest.raises(TypeError) as error:
            call()
        holds(sentence(error), f"{name} floating int64 .float()")
    assert F.cross_entropy(x[0], x[0, 0]).dtype == "float32"  # is computed of the logits as float32


def test_mixed_devices():
    pytest.importorskip("mlx.core", exc_type=ImportError)
    other = x23.to("mlx")
    for call, name in [
        (lambda: x23 + other, "add"), (lambda: x23 @ other.t(), "matmul"), (lambda: mg.cat([x23, other]), "cat"),
        (lambda: F.linear(x23, other), "linear"), (lambda: mg.where(x23 > 0, x23, other), "where"),
        (lambda: F.mse_loss(x23, other), "mse_loss"), (lambda: F.cross_entropy(x23, other[:, 0].long()), "cross_entropy"),
        (lambda: F.layer_norm(x23, 3, other[0]), "layer_norm"), (lambda: mg.maximum(other, x23), "maximum"),
    ]:  # fmt: skip
        with pytest.raises(BackendError) as error:
            call()
        holds(sentence(error), f"{name} cpu mlx .to(device)")
    with pytest.raises(BackendError, match="cuda"):
        x23.to("cuda")
    with pytest.raises(TypeError, match="float64.*float32"):
        other.astype("float64")


def test_booleans(device):
    """numpy refuses to subtract them, MLX doesn't; neither result is PyTorch's."""
    true = mg.tensor([True], device=device)
    for call, name in [(lambda: -true, "neg"), (lambda: true - true, "sub"), (lambda: 1 - true == true - True, "sub")]:
        with pytest.raises(TypeError) as error:
            call()
        holds(sentence(error), f"{name} bool (1,) ^")
    assert mg.sign(true).tolist() == [True]


def test_masked_fill_keeps_the_dtype(device):
    mask = mg.tensor([True, False], device=device)
    for dtype, value in [("int64", 1.5), ("int64", mg.tensor(1.5, device=device)), ("float32", True), ("bool", 2)]:
        filled = mg.zeros(2, dtype=dtype, device=device).masked_fill(mask, value)
        assert filled.dtype == dtype and filled.tolist() == [1.5 if dtype == "float" else 1, 0]


def test_shapes_on_mlx():
    """MLX's own complaints are turned into the same sentences."""
    pytest.importorskip("mlx.core", exc_type=ImportError)
    a, b = x23.to("mlx"), x34.to("mlx")
    for call, words in [
        (lambda: a + b, "add (2, 3) (3, 4)"), (lambda: mg.cat([a, b]), "cat (2, 3) (3, 4)"), (lambda: a.expand(3, 3), "(3, 3)"),
    ]:  # fmt: skip
        with pytest.raises(ValueError) as error:
            call()
        holds(sentence(error), words)
