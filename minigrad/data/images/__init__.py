"""Pictures: reading those that may come from anywhere, and what makes a model's input of them."""

from minigrad.data.images.processor import ImageProcessor
from minigrad.data.images.reading import ImageError, find_images, is_image, open_image, read_image

__all__ = ["ImageError", "ImageProcessor", "find_images", "is_image", "open_image", "read_image"]
