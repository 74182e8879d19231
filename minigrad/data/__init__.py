"""Data sets, transforms on batches, label mixing and the loader.

>>> import minigrad as mg
>>> loader = mg.data.DataLoader(mg.data.Digits("train"), batch_size=64, shuffle=True, seed=0)
>>> images, labels = next(iter(loader))
>>> images.shape, labels.dtype
((64, 1, 8, 8), minigrad.int64)
"""

from minigrad.data import transforms
from minigrad.data.datasets import ArrayDataset, Dataset, Digits, ImageFolder, Subset
from minigrad.data.images.reading import ImageError, open_image, read_image
from minigrad.data.loader import DataLoader
from minigrad.data.mixing import cutmix, mixup
