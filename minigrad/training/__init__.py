"""Training classifiers: one function, a folder for each run, exact resuming, and what to do with the result.

>>> from minigrad.training import TrainConfig, train
>>> result = train(TrainConfig(output="runs/mine"))  # doctest: +SKIP
>>> print(result)  # doctest: +SKIP
"""

from minigrad.data.images.digits import digit_scan
from minigrad.training.augment import RandomAffine
from minigrad.training.config import TrainConfig
from minigrad.training.inference import Classifier, Prediction
from minigrad.training.metrics import Evaluation, class_iou, confusion_counts, evaluate, mean_iou
from minigrad.training.report import TrainResult
from minigrad.training.run_folder import RunFolderError
from minigrad.training.stop import TrainingError, TrainingInterrupted
from minigrad.training.tasks import load_task
from minigrad.training.trainer import resume, train

__all__ = [
    "Classifier",
    "Evaluation",
    "Prediction",
    "RandomAffine",
    "RunFolderError",
    "TrainConfig",
    "TrainResult",
    "TrainingError",
    "TrainingInterrupted",
    "class_iou",
    "confusion_counts",
    "digit_scan",
    "evaluate",
    "load_task",
    "mean_iou",
    "resume",
    "train",
]
