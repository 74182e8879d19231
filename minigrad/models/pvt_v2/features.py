"""What a model says of its stages' maps, in timm's words."""

import math
import operator
from collections.abc import Sequence
from typing import Any, overload

from minigrad.models.pvt_v2.config import PVTV2Config

Field = int | str
Several = Sequence[int] | None


class FeatureInfo:
    """Channels (`num_chs`), reduction (input pixels to one of the map) and module name of each stage's map.

    Args:
        config: the model's configuration.
        out_indices: the stages that `channels()`, `reduction()` and `module_name()` speak of; all when None.

    >>> from minigrad import models
    >>> info = models.pvt_v2_b0(num_classes=0).feature_info
    >>> info.channels(), info.reduction(), info[0]
    ([32, 64, 160, 256], [4, 8, 16, 32], {'num_chs': 32, 'reduction': 4, 'module': 'stages.0', 'index': 0})
    """

    def __init__(self, config: PVTV2Config, out_indices: Sequence[int] | None = None) -> None:
        self.info: list[dict[str, Any]] = [
            {"num_chs": dim, "reduction": math.prod(config.strides[: i + 1]), "module": f"stages.{i}", "index": i}
            for i, dim in enumerate(config.embed_dims)
        ]
        self.out_indices = tuple(range(len(self.info)) if out_indices is None else out_indices)

    def __repr__(self) -> str:
        return f"FeatureInfo(channels={self.channels()}, reduction={self.reduction()}, modules={self.module_name()})"

    @overload
    def get(self, key: str, idx: int) -> Field: ...

    @overload
    def get(self, key: str, idx: Several = None) -> list[Field]: ...

    def get(self, key: str, idx: int | Several = None) -> Any:
        """One field of the stages in `idx`: a value for a number, a list for a sequence or None (`out_indices`)."""
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[i][key] for i in (self.out_indices if idx is None else idx)]

    @overload
    def channels(self, idx: int) -> int: ...

    @overload
    def channels(self, idx: Several = None) -> list[int]: ...

    def channels(self, idx: int | Several = None) -> Any:
        """Channels of the maps."""
        return self.get("num_chs", idx)

    @overload
    def reduction(self, idx: int) -> int: ...

    @overload
    def reduction(self, idx: Several = None) -> list[int]: ...

    def reduction(self, idx: int | Several = None) -> Any:
        """Input pixels, along one side, to one pixel of the maps."""
        return self.get("reduction", idx)

    @overload
    def module_name(self, idx: int) -> str: ...

    @overload
    def module_name(self, idx: Several = None) -> list[str]: ...

    def module_name(self, idx: int | Several = None) -> Any:
        """Names of the modules that make the maps."""
        return self.get("module", idx)

    @overload
    def get_dicts(self, keys: Sequence[str] | None = None, *, idx: int) -> dict[str, Field]: ...

    @overload
    def get_dicts(self, keys: Sequence[str] | None, idx: int) -> dict[str, Field]: ...

    @overload
    def get_dicts(self, keys: Sequence[str] | None = None, idx: Several = None) -> list[dict[str, Field]]: ...

    def get_dicts(self, keys: Sequence[str] | None = None, idx: int | Several = None) -> Any:
        """The fields in `keys`, or all, as a dict for each stage in `idx`."""
        if isinstance(idx, int):
            return self._dict(idx, keys)
        return [self._dict(i, keys) for i in (self.out_indices if idx is None else idx)]

    def _dict(self, i: int, keys: Sequence[str] | None) -> dict:
        return {key: self.info[i][key] for key in (self.info[i] if keys is None else keys)}

    def __getitem__(self, i: int) -> dict[str, Field]:
        return self.info[i]

    def __len__(self) -> int:
        return len(self.info)


def take_indices(count: int, indices: int | Sequence[int] | None) -> list[int]:
    """Positions 0 … count - 1 from timm's `indices`: None is all, a number the last n, negative positions count from the end.

    Raises:
        TypeError: for what is neither a number nor a sequence of numbers.
        ValueError: when there is no such position, or none is asked for.
    """
    if indices is None:
        return list(range(count))
    if isinstance(indices, int):
        if not 0 < indices <= count:
            raise ValueError(
                f"the last {indices} stages were asked for; there are {count}: give a number from 1 to {count}"
            )
        return list(range(count - indices, count))
    try:
        taken = [i + count if i < 0 else i for i in map(operator.index, indices)]
    except TypeError:
        raise TypeError(f"stages are asked for by a whole number or a list of them, got {indices!r}") from None
    if not taken or not all(0 <= i < count for i in taken):
        raise ValueError(
            f"stages {list(indices)} were asked for; positions run from 0 to {count - 1}, or from -{count} to -1"
        )
    return taken
