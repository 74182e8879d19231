"""Pyramid Vision Transformer v2 with a classifier."""

from minigrad import nn
from minigrad.models.blocks import to_tokens
from minigrad.models.config import PVTV2Config
from minigrad.models.encoder import PVTV2Encoder
from minigrad.models.outputs import ImageClassifierOutput
from minigrad.nn import functional as F
from minigrad.tensor import Tensor


class PVT_V2(PVTV2Encoder):
    """Pyramid Vision Transformer v2 with a classifier.

    Args:
        config: a `PVTV2Config`; or leave it out and give its fields as keywords: `PVT_V2(img_size=64, embed_dims=[…], …)`.

    Shapes: (N, in_channels, H, W) → (N, num_classes), any H, W from `config.min_size` on.

    >>> from minigrad import models
    >>> config = models.PVTV2Config(img_size=64, embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4), depths=(1, 1, 1, 1))
    >>> import minigrad as mg
    >>> models.PVT_V2(config)(mg.zeros(2, 3, 64, 64)).shape
    (2, 1000)
    """

    def __init__(self, config: PVTV2Config | None = None, **fields) -> None:
        super().__init__(config, **fields)
        self.head = nn.Linear(self.config.embed_dims[-1], self.config.num_classes) if self.config.num_classes else nn.Identity()
        self._start()

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's normalised map, (N, C, H, W); `stage_maps` and `forward_intermediates` give all of them."""
        return self.stage_maps(x)[-1]

    def forward_head(self, x: Tensor) -> Tensor:
        """The last stage's map → its mean over the pixels → the classifier."""
        return self.head(to_tokens(x).mean(1))

    def forward(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ):
        """Logits (N, num_classes); or, when more is asked for, an `ImageClassifierOutput`."""
        attentions: list | None = [] if output_attentions else None
        maps = self.stage_maps(x, attentions)
        logits = self.forward_head(maps[-1])
        if labels is None and not output_hidden_states and not output_attentions:
            return logits
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return ImageClassifierOutput(
            loss,
            logits,
            tuple(maps) if output_hidden_states else None,
            tuple(attentions) if attentions is not None else None,
        )
