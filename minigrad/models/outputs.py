"""What a model returns when more than the logits is asked for."""

from dataclasses import dataclass, fields

from minigrad.tensor import Tensor


@dataclass
class ImageClassifierOutput:
    """Results by attribute (`out.logits`), key (`out["logits"]`), or position among those that are not None (`out[0]`).

    loss: () when labels were given; logits: (N, classes); hidden_states: the map of each stage, (N, C, H, W); attentions:
    the weights of each block, (N, heads, H·W, keys).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

    def keys(self) -> list[str]:
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]

    def to_tuple(self) -> tuple:
        return tuple(getattr(self, name) for name in self.keys())

    def __getitem__(self, key):
        if isinstance(key, str):
            if key not in self.keys():
                raise KeyError(f"this output has no {key!r}; it has {', '.join(self.keys())}")
            return getattr(self, key)
        return self.to_tuple()[key]

    def __iter__(self):
        return iter(self.to_tuple())

    def __len__(self) -> int:
        return len(self.keys())
