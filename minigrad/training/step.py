"""One update of the weights: forward, loss, backward, clipping and AdamW, in mixed precision and in parts where that is asked."""

from minigrad import compiler, nn
from minigrad.autograd import autocast
from minigrad.engine.tensor import Tensor
from minigrad.functions import cat, stack
from minigrad.nn import functional as F
from minigrad.nn.utils import clip_grad_norm_
from minigrad.optim import AdamW, GradScaler
from minigrad.parallel import exchange
from minigrad.training.config import TrainConfig
from minigrad.training.tasks import Task


class Step:
    """What changes the weights of a model, and the state that this takes besides them.

    Called with a batch it computes the loss and its gradients, and with the `last` batch of an update changes the weights.
    The batches' losses are weighted with their `share` of the update's images, so that several small batches make the
    update of a large one. Products are computed in `config.low`; the weights, their gradients and AdamW stay in float32.
    Of several processes each has its part of a batch, and `words` for the others; they exchange gradients before an update.
    """

    def __init__(self, config: TrainConfig, task: Task, model: nn.Module):
        self.config, self.task, self.model = config, task, model
        self.parameters = list(model.parameters())
        groups = [
            {"params": [p for p in self.parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = AdamW(groups, lr=config.lr)
        self.low = config.low
        self.scaler = GradScaler(enabled=self.low == "float16")
        state = [model, self.optimizer, self.scaler]
        self.run = compiler.compile(self._run, state=state) if config.compile else self._run

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        share: float = 1.0,
        last: bool = True,
        words: Tensor | None = None,
    ) -> tuple:
        """The loss, how many images were classified rightly, after an update the norm of the gradient (else None), and the sum
        of all processes' words (None for one alone), as tensors that may not be computed yet."""
        results = self.run(images, labels, share, last, words)
        if words is not None:
            words.backend.start([results[3].array])
        return results

    def _run(self, images: Tensor, labels: Tensor, share: float, last: bool, words: Tensor | None) -> tuple:
        if self.config.accumulate == 1:
            self.optimizer.zero_grad()
        loss, correct = self.gradients(images, labels, share)
        if words is not None:
            loss, correct, words = self.exchange(loss, correct, words, last)
        if not last:
            return loss, correct, None, words
        self.scaler.unscale_(self.optimizer)
        norm = clip_grad_norm_(self.parameters, self.config.clip) if self.config.clip else None
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return loss, correct, norm, words

    def gradients(self, images: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Forward and backward: adds a batch's gradients to those that are there; the loss, and how many were right."""
        with autocast(self.low or "auto", enabled=self.low is not None):
            logits = self.model(self.task.preprocessing.normalized(images))
            loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        self.scaler.scale(loss * share).backward()
        return loss, (logits.argmax(1) == labels).sum()

    def exchange(self, loss: Tensor, correct: Tensor, words: Tensor, last: bool) -> tuple:
        """Loss, correct ones and words of all processes together; before an update the gradients become their mean. The words
        travel last: when they have come, everything has."""
        if last:
            exchange.average_gradients(self.parameters)
        grads = [p.grad for p in self.parameters if p.grad is not None] if last else []
        facts = cat([stack([loss.detach(), correct.float()]), words])
        (facts,) = exchange.all_reduce([facts], after=grads)
        return facts[0] / exchange.get_world_size(), facts[1], facts[2:]
