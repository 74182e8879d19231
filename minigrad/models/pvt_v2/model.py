"""Pyramid Vision Transformer v2 with a classifier, under the names that timm and Hugging Face have for its parts."""

from collections.abc import Sequence

from minigrad import checks, nn
from minigrad.engine.tensor import Tensor
from minigrad.models.outputs import ImageClassifierOutput, Predicts, Value, classification_loss
from minigrad.models.pvt_v2.blocks import init_weights, to_tokens
from minigrad.models.pvt_v2.config import PVTV2Config
from minigrad.models.pvt_v2.encoder import PVTV2Encoder
from minigrad.models.pvt_v2.features import take_indices
from minigrad.nn import functional as F


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

    __call__: Predicts[ImageClassifierOutput]
    id2label: dict[int, str]  # the classes' names, where a checkpoint told them

    def __init__(self, config: PVTV2Config | None = None, **fields) -> None:
        super().__init__(config, **fields)
        self.head = self._classifier()
        self._start()

    def _classifier(self) -> nn.Module:
        classes = self.config.num_classes
        return nn.Linear(self.num_features, classes) if classes else nn.Identity()

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier; 0 when there is none."""
        return self.config.num_classes

    @property
    def num_features(self) -> int:
        """Channels of the last map, and so of the pooled features."""
        return self.config.embed_dims[-1]

    @property
    def head_hidden_size(self) -> int:
        """Channels that the classifier reads: `num_features`."""
        return self.num_features

    def get_classifier(self) -> nn.Module:
        """The classifier, a `Linear`; an `Identity` when there is none."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the classifier by a new one with random weights, or removes it.

        Args:
            num_classes: 0 for none: the model then gives the pooled features (N, C).
            global_pool: "avg"; or "", with no classes, for the last map (N, C, H, W); None leaves it as it is.

        Raises:
            ValueError: for a map with classes.
        """
        pool = self.config.global_pool if global_pool is None else global_pool
        self.config = self.config.replace(num_classes=num_classes, global_pool=pool)
        weight = self.patch_embed.proj.weight
        head = self._classifier().apply(lambda module: init_weights(module, self.config.initializer_range))
        self.head = head.to(device=weight.device, dtype=weight.dtype).train(self.training)
        vars(self).pop("id2label", None)  # the names of the classes before

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Removes the stages after the last one in `indices` (as in `forward_intermediates`), and the classifier.

        `prune_norm` is without effect. The classifier stays only if `prune_head` is False and no stage is removed; without
        it the model gives the last map. `config` describes what is left. Returns the positions taken.
        """
        taken = take_indices(len(self.stages), indices)
        count = max(taken) + 1
        pruned = count < len(self.stages)
        self.stages = self.stages[:count]
        self.config = self.config.first_stages(count)
        if prune_head or pruned:
            self.reset_classifier(0, "")
        return taken

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's normalised map, (N, C, H, W); `stage_maps` and `forward_intermediates` give all of them."""
        return self.stage_maps(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last stage's map → its mean over the pixels (N, C) → the classifier (N, num_classes), unless `pre_logits`."""
        checks.tensor("forward_head", "x", x)
        if self.config.global_pool:
            if x.ndim != 4:
                raise ValueError(f"forward_head: expected the last stage's map (N, C, H, W), got shape {x.shape}")
            x = to_tokens(x).mean(1)
        x = F.dropout(x, self.config.head_drop_rate, self.training)
        return x if pre_logits else self.head(x)

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool | None = None,
    ) -> Tensor | ImageClassifierOutput | tuple[Value, ...]:
        """Logits (N, num_classes); or, when more is asked for, an `ImageClassifierOutput`.

        Args:
            pixel_values: images (N, in_channels, H, W), normalised.
            labels: what `outputs.classification_loss` takes; the output then has a loss.
            output_attentions: hand out the attention weights of every block, (N, heads, H·W, keys).
            output_hidden_states: hand out the map of every stage, (N, C, H, W).
            return_dict: True for an `ImageClassifierOutput` in any case, False for a plain tuple of what isn't None.

        Raises:
            ValueError: for images of a wrong shape or too small, and labels that don't go with the classifier.
        """
        attentions: list | None = [] if output_attentions else None
        maps = self.stage_maps(pixel_values, attentions)
        logits = self.forward_head(maps[-1])
        if labels is None and not output_hidden_states and not output_attentions and return_dict is None:
            return logits
        if labels is not None and not self.num_classes:
            raise ValueError(
                "this model has no classifier (num_classes is 0), so labels give no loss; use reset_classifier(n)"
            )
        out = ImageClassifierOutput(
            None if labels is None else classification_loss(logits, labels, self.config.problem_type),
            logits,
            tuple(maps) if output_hidden_states else None,
            tuple(attentions) if attentions is not None else None,
        )
        return out.to_tuple() if return_dict is False else out
