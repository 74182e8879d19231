"""The settings of a training run, checked in full before anything is written."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from minigrad import backend, checks
from minigrad.interop import entries
from minigrad.models import list_models


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run. The defaults are the main job: PVT v2 on the handwritten digits.

    Args:
        model: a name from `mg.models.list_models()`.
        data: "digits", or a folder of images in class folders. A folder with `train/` and `val/` (and maybe `test/`) is
            used as it is; any other is split per class, the same way each time.
        weights: a checkpoint to start from, of the same variant: whatever `models.from_pretrained` reads (a run folder, a file, a
            name on the Hugging Face hub). A classifier of other classes is replaced by an untrained one, with a warning. None
            means random weights.
        image_size: side of the square images that the model sees; None means 32 for the digits and `pvt_v2_tiny`,
            224 for everything else.
        epochs, batch_size: passes over the training part, images in one step (of all processes together).
        lr: AdamW's learning rate at its peak. It rises linearly during the first `warmup` (a fraction) of all steps and
            then falls along a cosine to zero.
        weight_decay: applied to weight matrices and convolutions only (ndim >= 2), never to biases and norms.
        label_smoothing: share of the target probability that is spread over all classes.
        drop_path: rate of stochastic depth in the last block.
        clip: largest norm of all gradients together; 0 switches clipping off.
        shift, rotate, zoom: training images are moved by up to so many pixels, turned by up to so many degrees and scaled
            by up to a factor 1 + zoom, at random.
        flip: training images are mirrored left to right half of the time.
        seed: of the initial weights, the order of the images and every random choice.
        device: "cpu", "mlx" or "gpu".
        amp: mixed precision: "float16" (with loss scaling), "bfloat16", "auto" (the one that the device computes quickly) or
            "off". The weights stay in float32, validation computes in it.
        accumulate: batches whose gradients make one update together: as much as a batch of so many times the size learns,
            in the memory of one. The rest at an epoch's end makes an update of its own.
        recompute: keep a block's input only and compute the block again in backward: less memory, a third more time.
        memory_limit: GB that MLX may use; 0 means what the machine can spare, see `mg.memory_info`. A run whose steps would
            need more isn't started.
        compile: run the training step as one compiled function where the device can (MLX), see `mg.compile`.
        threads: threads of the CPU backend's kernels. One is the quickest for small models: two that wait for each other on
            a busy machine were measured at a tenth of its speed.
        workers: threads that read and prepare batches ahead; they change no result and pay for folders of images.
        output: the run folder; None means `runs/<data>-<time>`.

    Raises:
        ValueError: for a value that makes no sense; BackendError: for a device that isn't there.
    """

    model: str = "pvt_v2_tiny"
    data: str = "digits"
    weights: str | None = None
    image_size: int | None = None
    epochs: int = 40
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    label_smoothing: float = 0.1
    drop_path: float = 0.0
    clip: float = 1.0
    shift: float = 3.0
    rotate: float = 10.0
    zoom: float = 0.1
    flip: bool = False
    seed: int = 0
    device: str = "cpu"
    amp: str = "off"
    accumulate: int = 1
    recompute: bool = False
    memory_limit: float = 0.0
    compile: bool = True
    threads: int = 1
    workers: int = 0
    output: str | None = None

    def __post_init__(self) -> None:
        if checks.text("TrainConfig", "model", self.model) not in list_models():
            raise ValueError(f"there is no model {self.model!r}; choose one of {', '.join(list_models())}")
        for name, (least, most) in _WHOLE.items():
            value = getattr(self, name)
            if name == "image_size" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {entries.told(value)}")
            if value > most:
                raise ValueError(f"{name} must be at most {most}, got {entries.told(value)}")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not entries.is_finite(value) or not low <= value < high:
                limit = f"in [{low:g}, {high:g})" if math.isfinite(high) else f"a finite number of at least {low:g}"
                raise ValueError(f"{name} must be {limit}, got {entries.told(value)}")
        for name in ("flip", "recompute", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {entries.told(getattr(self, name))}")
        for name in ("weights", "output"):
            if getattr(self, name) is not None:
                checks.path("TrainConfig", name, getattr(self, name))
        if self.lr == 0:
            raise ValueError("lr must be greater than 0, got 0")
        if checks.path("TrainConfig", "data", self.data) != "digits" and not Path(self.data).is_dir():
            raise ValueError(f"data must be 'digits' or a folder of class folders; there is no folder {self.data!r}")
        xp = backend.get(self.device)
        checks.choice("TrainConfig", "amp", self.amp, AMP)
        if self.low is not None and self.low not in xp.dtypes:
            raise ValueError(f"device {self.device!r} has no {self.low}; use amp float16 (slow there), or device mlx")

    @property
    def low(self) -> str | None:
        """The 16-bit dtype of products, or None where everything is in float32."""
        if self.amp == "off":
            return None
        return backend.get(self.device).low_precision() if self.amp == "auto" else self.amp

    @property
    def size(self) -> int:
        """The image size with its default filled in."""
        if self.image_size is not None:
            return self.image_size
        return 32 if self.data == "digits" or self.model == "pvt_v2_tiny" else 224

    def to_dict(self) -> dict[str, object]:
        """The settings as a dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping) -> "TrainConfig":
        """The inverse of `to_dict`. Raises ValueError for a setting that doesn't exist."""
        checks.mapping("TrainConfig.from_dict", "settings", settings)
        unknown = sorted(set(settings) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown training setting {', '.join(map(repr, unknown))}")
        return cls(**settings)


LARGEST = 2**31 - 1
THREADS = 1024  # more than any machine makes use of
_WHOLE = {
    "epochs": (1, LARGEST), "batch_size": (1, LARGEST), "image_size": (1, 8192), "threads": (1, THREADS), "seed": (0, 2**64 - 1),
    "workers": (0, THREADS), "accumulate": (1, LARGEST),
}  # fmt: skip
AMP = ("off", "auto", "float16", "bfloat16")
_RANGES = (
    ("lr", 0.0, math.inf),
    ("weight_decay", 0.0, math.inf),
    ("clip", 0.0, math.inf),
    ("memory_limit", 0.0, 1e9),
    ("warmup", 0.0, 1.0),
    ("label_smoothing", 0.0, 1.0),
    ("drop_path", 0.0, 1.0),
    ("shift", 0.0, 1e6),
    ("rotate", 0.0, 1e6),
    ("zoom", 0.0, 1.0),
)
