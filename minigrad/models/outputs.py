"""What a model returns when more than one tensor is asked for, and the loss that goes with labels."""

from dataclasses import dataclass, fields

from minigrad.tensor import Tensor


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

    def values(self) -> list:
        """The fields that are not None, in order."""
        return [getattr(self, name) for name in self.keys()]

    def items(self) -> list[tuple]:
        """(name, value) of the fields that are not None."""
        return list(zip(self.keys(), self.values(), strict=True))

    def get(self, key: str, default=None):
        """The field of this name, or `default` when there is none or it is None."""
        return self[key] if key in self.keys() else default

    def to_tuple(self) -> tuple:
        """The fields that are not None."""
        return tuple(self.values())

    def __getitem__(self, key):
        if isinstance(key, str):
            if key not in self.keys():
                raise KeyError(f"this output has no {key!r}; it has {', '.join(self.keys())}")
            return getattr(self, key)
        return self.to_tuple()[key]

    def __setitem__(self, key: str, value) -> None:
        if key not in (names := [f.name for f in fields(self)]):
            raise KeyError(f"{type(self).__name__} has no field {key!r}; it has {', '.join(names)}")
        setattr(self, key, value)

    def __contains__(self, key) -> bool:
        return key in self.keys()

    def __iter__(self):
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
