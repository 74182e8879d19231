"""What a model returns when more than one tensor is asked for, and the loss that goes with labels."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, Protocol, TypeVar, overload

from minigrad import checks
from minigrad.engine.tensor import Tensor
from minigrad.functions import where
from minigrad.nn import functional as F
from minigrad.nn.functional.losses import check_classes, marked

Value = Tensor | tuple[Tensor, ...]  # what a field holds
T = TypeVar("T")
Out = TypeVar("Out", covariant=True)


@dataclass
class ModelOutput:
    """Results by attribute (`out.logits`), key (`out["logits"]`), or position among those that are not None (`out[0]`,
    `loss, logits = out`, `out[:2]`), as Hugging Face's class of the same name has it.

    >>> import minigrad as mg
    >>> out = ImageClassifierOutput(logits=mg.zeros(2, 5))
    >>> out[0] is out.logits is out["logits"], list(out.keys()), len(out), "loss" in out
    (True, ['logits'], 1, False)
    """

    def keys(self) -> list[str]:
        """The names of the fields that are not None, in order."""
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]

    def values(self) -> list[Value]:
        """The fields that are not None, in order."""
        return [getattr(self, name) for name in self.keys()]

    def items(self) -> list[tuple[str, Value]]:
        """(name, value) of the fields that are not None."""
        return list(zip(self.keys(), self.values(), strict=True))

    @overload
    def get(self, key: str) -> Value | None: ...

    @overload
    def get(self, key: str, default: T) -> Value | T: ...

    def get(self, key: str, default: object = None) -> object:
        """The field of this name, or `default` when there is none or it is None."""
        return self[key] if key in self else default

    def to_tuple(self) -> tuple[Value, ...]:
        """The fields that are not None."""
        return tuple(self.values())

    @overload
    def __getitem__(self, key: str | int) -> Value: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[Value, ...]: ...

    def __getitem__(self, key: str | int | slice) -> Value | tuple[Value, ...]:
        if isinstance(key, str):
            if key not in self.keys():
                raise KeyError(f"this output has no {key!r}; it has {', '.join(self.keys())}")
            return getattr(self, key)
        values = self.to_tuple()
        return values[key] if isinstance(key, slice) else values[checks.position(type(self).__name__, key, len(values))]

    def __setitem__(self, key: str, value: Value | None) -> None:
        if checks.text(type(self).__name__, "a field's name", key) not in (names := [f.name for f in fields(self)]):
            raise KeyError(f"{type(self).__name__} has no field {key!r}; it has {', '.join(names)}")
        setattr(self, key, value)

    def __contains__(self, key) -> bool:
        return isinstance(key, str) and key in self.keys()

    def __iter__(self) -> Iterator[Value]:
        return iter(self.to_tuple())

    def __len__(self) -> int:
        return len(self.keys())


@dataclass
class ImageClassifierOutput(ModelOutput):
    """What `PVT_V2` gives: loss () when labels were given; logits (N, classes); hidden_states, the map of each stage,
    (N, C, H, W); attentions, the weights of each block, (N, heads, H·W, keys)."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class BaseModelOutput(ModelOutput):
    """What `PVTV2Model` gives: last_hidden_state, the last stage's map (N, C, H, W); hidden_states, the map of each stage;
    attentions, the weights of each block, (N, heads, H·W, keys)."""

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class BackboneOutput(ModelOutput):
    """What `PVTV2Backbone` gives: feature_maps, the maps of the stages asked for, (N, C, H, W) each; hidden_states, the map of
    each stage; attentions, the weights of each block, (N, heads, H·W, keys)."""

    feature_maps: tuple[Tensor, ...] | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class SemanticSegmenterOutput(ModelOutput):
    """What `SemanticFPN` and `MLPSegmenter` give: loss () when labels were given; logits (N, classes, H/4, W/4) with the default
    strides; hidden_states, the map of each stage, (N, C, H, W); attentions, the weights of each block, (N, heads, H·W, keys)."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class Encodes(Protocol[Out]):
    """How a model without a head is called."""

    @overload
    def __call__(
        self, pixel_values: Tensor, output_attentions: bool = False, output_hidden_states: bool = False,
        return_dict: Literal[True] | None = None,
    ) -> Out: ...  # fmt: skip

    @overload
    def __call__(
        self, pixel_values: Tensor, output_attentions: bool = False, output_hidden_states: bool = False, *,
        return_dict: Literal[False],
    ) -> tuple[Value, ...]: ...  # fmt: skip

    @overload
    def __call__(
        self, pixel_values: Tensor, output_attentions: bool = False, output_hidden_states: bool = False,
        return_dict: bool | None = None,
    ) -> Out | tuple[Value, ...]: ...  # fmt: skip


class Predicts(Protocol[Out]):
    """How a model with a head is called: for logits alone, or for more."""

    @overload
    def __call__(self, pixel_values: Tensor) -> Tensor: ...

    @overload
    def __call__(
        self, pixel_values: Tensor, labels: Tensor, output_attentions: bool = False, output_hidden_states: bool = False,
        return_dict: Literal[True] | None = None,
    ) -> Out: ...  # fmt: skip

    @overload
    def __call__(
        self, pixel_values: Tensor, labels: None = None, *, output_attentions: Literal[True],
        output_hidden_states: bool = False, return_dict: Literal[True] | None = None,
    ) -> Out: ...  # fmt: skip

    @overload
    def __call__(
        self, pixel_values: Tensor, labels: None = None, output_attentions: bool = False, *,
        output_hidden_states: Literal[True], return_dict: Literal[True] | None = None,
    ) -> Out: ...  # fmt: skip

    @overload
    def __call__(
        self, pixel_values: Tensor, labels: Tensor | None = None, output_attentions: bool = False,
        output_hidden_states: bool = False, *, return_dict: Literal[True],
    ) -> Out: ...  # fmt: skip

    @overload
    def __call__(
        self, pixel_values: Tensor, labels: Tensor | None = None, output_attentions: bool = False,
        output_hidden_states: bool = False, *, return_dict: Literal[False],
    ) -> tuple[Value, ...]: ...  # fmt: skip

    @overload
    def __call__(
        self, pixel_values: Tensor, labels: Tensor | None = None, output_attentions: bool = False,
        output_hidden_states: bool = False, return_dict: bool | None = None,
    ) -> Tensor | Out | tuple[Value, ...]: ...  # fmt: skip


def classification_loss(logits: Tensor, labels, problem_type: str | None = None) -> Tensor:
    """The mean loss of logits (N, classes) for labels, chosen by Hugging Face's rule where `problem_type` is None.

    One class: the mean squared difference ("regression"), labels (N,) or (N, 1). Several classes and whole-number labels
    (N,): cross-entropy ("single_label_classification"). Several classes and floating-point labels (N, classes) in [0, 1]:
    binary cross-entropy of each ("multi_label_classification").

    >>> import minigrad as mg
    >>> classification_loss(mg.zeros(2, 4), mg.tensor([0, 3])).item(), classification_loss(mg.zeros(2, 1), [1.0, 2.0]).item()
    (1.3862943649291992, 2.5)

    Raises:
        ValueError: when the labels' shape or dtype doesn't go with the problem.
    """
    n, classes = logits.shape
    given = str(getattr(getattr(labels, "dtype", None), "name", ""))
    if not isinstance(labels, Tensor):
        floats = given.startswith("float")  # numpy's are often float64, which MLX lacks
        labels = Tensor(labels, dtype=logits.dtype if floats else None, device=logits.device)
    given = given or labels.dtype.name
    if labels.is_floating_point():
        labels = labels.to(dtype=logits.dtype)  # before it moves: MLX has no float64
    labels = labels.to(device=logits.device)
    whole = not labels.is_floating_point() and given != "bool"
    if problem_type is None:
        problem_type = "multi_label_classification"
        if classes == 1:
            problem_type = "regression"
        elif whole:
            problem_type = "single_label_classification"
    if problem_type == "single_label_classification":
        if not whole or labels.numel() != n:
            raise ValueError(f"labels of {n} images are {n} whole numbers, got {given} of shape {labels.shape}")
        return F.cross_entropy(logits, labels.reshape(n))
    shape = (n, classes)
    if labels.shape != shape and not (classes == 1 and labels.shape == (n,)):
        raise ValueError(
            f"labels of shape {labels.shape} and dtype {given} don't go with logits {shape}: give {n} whole numbers, "
            f"one class for each image, or floating-point numbers of shape {shape}"
        )
    labels = labels.to(dtype=logits.dtype).reshape(shape)
    loss = F.mse_loss if problem_type == "regression" else F.binary_cross_entropy_with_logits
    return loss(logits, labels)


def segmentation_loss(logits: Tensor, labels, ignore_index: int = 255) -> Tensor:
    """The mean loss of logits (N, classes, h, w), enlarged bilinearly to the size of labels (N, H, W), as Hugging Face computes it.

    Several classes: cross-entropy over the pixels whose label isn't `ignore_index` (NaN when there is none, as in PyTorch). One
    class: binary cross-entropy of labels 0 and 1, in which ignored and negative labels count as pixels without loss.

    >>> import minigrad as mg
    >>> segmentation_loss(mg.zeros(1, 4, 1, 1), mg.tensor([[[0, 255], [3, 1]]])).item()
    1.3862943649291992

    Raises:
        ValueError: when the labels' shape or dtype doesn't fit.
        IndexError: for a label that is neither a class nor `ignore_index`, nor negative where there is one class (on MLX the loss
            is NaN).
    """
    if not isinstance(labels, Tensor):
        labels = Tensor(labels)
    n, classes = logits.shape[:2]
    if labels.ndim != 3 or labels.shape[0] != n or labels.is_floating_point() or labels.dtype.name == "bool":
        raise ValueError(
            f"labels of {n} images are whole numbers of shape ({n}, H, W), got {labels.dtype.name} of shape {labels.shape}"
        )
    labels = labels.to(device=logits.device).long()
    logits = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
    if classes > 1:
        return F.cross_entropy(logits, labels, ignore_index=ignore_index)
    labels = where(labels < 0, ignore_index, labels)
    check_classes("segmentation_loss", labels, 2, None, ignore_index)
    losses = F.binary_cross_entropy_with_logits(logits[:, 0], labels.astype(logits.dtype), reduction="none")
    return marked(where(labels == ignore_index, 0.0, losses), labels, 2, ignore_index).mean()
