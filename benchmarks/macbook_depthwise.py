"""The forms of MLX's depthwise convolution beside each other, for `macbook.py`: each part alone, at the sizes that PVTv2-b0 has,
and whole training steps."""

import statistics

import common
import macbook_jobs as jobs
import mlx.core as mx

import minigrad as mg
from minigrad.kernels.mlx import conv, depthwise

HIDDEN = ((256, 56), (512, 28), (640, 14), (1024, 7))  # channels and side of b0's depthwise convolutions at 224 pixels
LAUNCHES = 5  # of one kernel between two waits
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def precisions_of(options) -> list[str]:
    """Float32, and what the chip computes quickly."""
    low = {"float16": "fp16", "bfloat16": "bf16"}[mg.backend.get("mlx").low_precision()]
    return ["fp32"] if options.quick else [p for p in ("fp32", low) if p in options.precisions]


def sizes(options):
    return ((16, 8),) if options.quick else HIDDEN


def rows(options) -> int:
    """How many lines of progress there will be."""
    return len(precisions_of(options)) * (len(sizes(options)) + 1)


def measure(options, report, progress) -> None:
    """Each part in each form; then whole training steps of b0 with each."""
    forms = [form for form in depthwise.FORMS if form != "metal" or mx.metal.is_available()]
    precisions = precisions_of(options)
    total = {(part, form): 0.0 for part in depthwise.PARTS for form in forms}
    head = ["channels", "side", "numbers", "part", *[f"{form}, ms" for form in forms], "quickest"]
    for channels, side in sizes(options):
        for precision in precisions:
            progress(f"depthwise convolution: {channels} channels, {side}×{side}, {precision}")
            for part, ms in kernels(channels, side, precision, forms, options).items():
                quickest = min(ms, key=ms.__getitem__)
                report.add("Depthwise 3×3", head, [channels, side, precision, part, *ms.values(), quickest])
                for form, value in ms.items():
                    total[part, form] += value
    best = {part: min(forms, key=lambda form, part=part: total[part, form]) for part in depthwise.PARTS}
    default = written(depthwise.forms())
    report.notes.append(f"depthwise forms: {default} by default; quickest one by one: {written(best)}")
    for precision in precisions:
        progress(f"training steps of b0 with each form, {precision}")
        steps(precision, forms, best, options, report)


def written(forms: dict[str, str]) -> str:
    return ", ".join(f"{part} {form}" for part, form in forms.items())


def kernels(channels: int, side: int, precision: str, forms: list[str], options) -> dict[str, dict[str, float]]:
    """Part of the convolution -> form -> milliseconds."""
    dtype = getattr(mx, DTYPES[precision])
    x, g = (mx.random.normal((options.batch, side, side, channels)).astype(dtype) for _ in range(2))
    w = mx.random.normal((channels, 1, 3, 3)).astype(dtype)
    same = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=channels)
    mx.eval(x, g, w)
    parts = {
        "forward": lambda x, g, w: conv.nhwc(conv.conv2d(conv.nchw(x), w, None, **same)),
        "input": lambda x, g, w: conv.nhwc(conv.conv2d_input(conv.nchw(g), w, size=(side, side), **same)),
        "weight": lambda x, g, w: conv.conv2d_weight(conv.nchw(g), conv.nchw(x), kernel=(3, 3), **same),
    }
    results = {}
    for part, function in parts.items():
        runs = {}
        for form in forms:
            compiled = mx.compile(lambda x, g, w, function=function: function(x, g, w))
            depthwise.set_forms(**{part: form})
            runs[form] = lambda compiled=compiled: mx.eval([compiled(x, g, w) for _ in range(LAUNCHES)])
            try:
                runs[form]()  # traced, with this form
            finally:
                depthwise.set_forms()
        times = common.take_turns(runs, 0.2 * options.seconds, 1 if options.quick else 5)
        results[part] = {form: 1e3 / LAUNCHES * statistics.median(t[0] for t in turns) for form, turns in times.items()}
    return results


def steps(precision: str, forms: list[str], best: dict[str, str], options, report) -> None:
    """Compiled training steps of b0 with one form for all parts, with the quickest ones, and as it is by default."""
    name, size = ("pvt_v2_tiny", 32) if options.quick else ("pvt_v2_b0", 224)
    choices = {"default": {}} | {form: dict.fromkeys(depthwise.PARTS, form) for form in forms} | {"quickest": best}
    weights, data, runs = jobs.initial_weights(name), jobs.data(options.batch, size), {}
    for choice, chosen in choices.items():
        runs[choice] = jobs.Minigrad(name, weights, None if precision == "fp32" else DTYPES[precision]).training(*data)
        depthwise.set_forms(**chosen)
        try:
            for _ in range(3):
                runs[choice]()  # traced, with these forms
        finally:
            depthwise.set_forms()
    times = common.take_turns(runs, options.seconds, 1 if options.quick else 5)
    wall = {choice: [turn[0] for turn in turns] for choice, turns in times.items()}
    for choice, turns in wall.items():
        ms, ratio = 1e3 * statistics.median(turns), common.ratio(wall, choice, "default")
        head = ["model", "side", "products", "batch", "forms", "ms", "beside the default"]
        title = "Training steps with each form of the depthwise convolution"
        report.add(title, head, [name, size, precision, options.batch, choice, ms, ratio])
