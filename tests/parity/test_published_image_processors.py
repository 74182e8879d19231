"""Preprocessing beside Hugging Face's image processor and timm's transform, on photographs of many kinds.

Of each picture the pixels are compared in units of the 0 … 1 image: at most 1/255 apart, less than 0.1/255 on average.
The photographs are scikit-image's.
"""

from pathlib import Path

import numpy as np
import pytest
from peers import published
from PIL import Image, ImageOps

from minigrad.interop import preprocessing
from minigrad.models import ImageProcessor

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PHOTOGRAPHS = (
    "square", "grey", "palette", "transparent", "cmyk", "sixteen bits", "turned", "tall", "wide", "tiny", "huge", "bits"
)  # fmt: skip


@pytest.fixture(scope="module")
def photograph(request, tmp_path_factory):
    """Its name and file."""
    return request.param, write(request.param, tmp_path_factory.mktemp("photographs"))


def write(name, folder):
    """One of scikit-image's photographs in the named form, as a file."""
    data = Path(pytest.importorskip("skimage").__file__).parent / "data"

    def take(file):
        return Image.open(data / file).convert("RGB")

    if name == "turned":
        exif = Image.Exif()
        exif[0x0112] = 8
        take("rocket.jpg").save(folder / "a.jpg", exif=exif, quality=95)
        return folder / "a.jpg"
    if name == "cmyk":
        take("rocket.jpg").convert("CMYK").save(folder / "a.tif")
        return folder / "a.tif"
    if name == "transparent":
        image = take("chelsea.png").convert("RGBA")
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    elif name == "sixteen bits":
        image = Image.fromarray(np.asarray(take("camera.png").convert("L"), np.uint16) * 257)
    else:
        image = {
            "square": lambda: take("astronaut.png"),
            "grey": lambda: take("camera.png").convert("L"),
            "palette": lambda: take("coffee.png").convert("P", palette=Image.Palette.ADAPTIVE),
            "tall": lambda: take("motorcycle_left.png").crop((100, 0, 221, 500)),
            "wide": lambda: take("retina.jpg").crop((0, 500, 1411, 601)),
            "tiny": lambda: take("astronaut.png").resize((17, 23)),
            "huge": lambda: take("hubble_deep_field.jpg").resize((4001, 3487)),
            "bits": lambda: take("page.png").convert("1"),
        }[name]()
    path = folder / ("a.jpg" if name == "huge" else "a.png")
    image.save(path)
    return path


def as_they_take_it(name, path):
    """What their users hand over: upright, and for the two kinds that they'd spoil prepared: Pillow's conversion to RGB
    clips 16 bits at 255 and drops transparency, leaving whatever colour lay below it."""
    image = ImageOps.exif_transpose(Image.open(path))
    if name == "sixteen bits":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if name == "transparent":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def unit(pixels):
    """Normalised (C, H, W) back to 0 … 1."""
    return np.asarray(pixels, np.float64) * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]


def compare(ours, theirs, record_property, what):
    apart = abs(unit(ours) - unit(theirs)) * 255
    record_property("apart", (what, float(apart.max()), float(apart.mean())))
    assert apart.max() <= 1 + 1e-3 and apart.mean() < 0.1


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, indirect=True)
def test_hugging_faces_processor(photograph, record_property):
    published("transformers")
    processors = pytest.importorskip("transformers.models.pvt.image_processing_pil_pvt")
    name, path = photograph
    theirs = processors.PvtImageProcessorPil(resample=2)(as_they_take_it(name, path))["pixel_values"][0]
    compare(ImageProcessor()(path).numpy()[0], theirs, record_property, f"{name}, transformers")


@pytest.mark.parametrize("photograph", ["transparent", "palette", "cmyk", "grey", "bits"], indirect=True)
def test_hugging_faces_conversion_of_modes(photograph, record_property):
    published("transformers")
    processors = pytest.importorskip("transformers.models.pvt.image_processing_pil_pvt")
    name, path = photograph
    theirs = processors.PvtImageProcessorPil(resample=3, do_convert_rgb=True)(Image.open(path))["pixel_values"][0]
    compare(ImageProcessor(resample="bicubic")(path).numpy()[0], theirs, record_property, f"{name}, transformers")


@pytest.mark.parametrize("settings", [{}, {"crop_mode": "squash"}, {"crop_mode": "border"}, {"size": (192, 256)}])
@pytest.mark.parametrize("photograph", PHOTOGRAPHS, indirect=True)
def test_timms_transform(photograph, settings, record_property):
    published("timm")
    from timm.data import create_transform

    settings = dict(settings)
    values = {
        "input_size": (3, *settings.pop("size", (224, 224))), "interpolation": "bicubic", "crop_pct": 0.9, "mean": MEAN,
        "std": STD, **settings,
    }  # fmt: skip
    name, path = photograph
    theirs = create_transform(**values)(as_they_take_it(name, path)).numpy()
    compare(ImageProcessor.from_dict(values)(path).numpy()[0], theirs, record_property, f"{name}, timm {settings}")


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, indirect=True)
def test_the_originals_preprocessing(photograph, record_property):
    """Bicubic to 256, the central 224."""
    published("timm")
    from torchvision import transforms as T

    name, path = photograph
    steps = [
        T.Resize(256, interpolation=T.InterpolationMode.BICUBIC),
        T.CenterCrop(224),
        T.ToTensor(),
        T.Normalize(MEAN, STD),
    ]
    theirs = T.Compose(steps)(as_they_take_it(name, path)).numpy()
    values = {"input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.875, "mean": MEAN, "std": STD}
    compare(ImageProcessor.from_dict(values)(path).numpy()[0], theirs, record_property, f"{name}, torchvision")


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, indirect=True)
def test_resizing_on_tensors_differs_a_little(photograph, record_property):
    """transformers' other backend resizes with torchvision instead of Pillow: up to 1/255 apart, more often."""
    transformers = published("transformers")
    name, path = photograph
    theirs = transformers.PvtImageProcessor(resample=2)(as_they_take_it(name, path), return_tensors="pt")[
        "pixel_values"
    ][0]
    apart = abs(unit(ImageProcessor()(path).numpy()[0]) - unit(theirs)) * 255
    record_property("apart", (f"{name}, torchvision's resize", float(apart.max()), float(apart.mean())))
    assert apart.max() <= 1 + 1e-3


@pytest.mark.parametrize(
    "processor",
    [
        ImageProcessor(),
        ImageProcessor(size={"shortest_edge": 256}, resample="bicubic", do_center_crop=True, crop_size=224),
        ImageProcessor(
            size={"shortest_edge": 57}, resample="lanczos", do_center_crop=True, crop_size=(40, 51), image_mean=0.5
        ),
    ],
    ids=["squash", "crop", "odd crop"],
)
@pytest.mark.parametrize("photograph", ["square", "tall", "turned"], indirect=True)
def test_what_we_save_transformers_reads(photograph, processor, tmp_path, record_property):
    transformers = published("transformers")
    processor.save_pretrained(tmp_path)
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    theirs.save_pretrained(tmp_path / "again")
    again = ImageProcessor.from_pretrained(tmp_path / "again")
    assert again.to_dict() == processor.to_dict()
    name, path = photograph
    pixels = theirs(as_they_take_it(name, path))["pixel_values"][0]
    assert pixels.shape[1:] == processor.output_size
    compare(processor(path).numpy()[0], pixels, record_property, f"{name}, saved")


@pytest.mark.parametrize("kind", sorted(preprocessing.DEFAULTS))
def test_defaults_of_each_class(kind):
    """What a file leaves out is what the class that it names does in transformers."""
    published("timm")  # makes torchvision importable
    transformers = published("transformers")
    theirs = getattr(transformers, kind)().to_dict()
    ours = {name: list(v) if isinstance(v, tuple) else v for name, v in preprocessing.DEFAULTS[kind].items()}
    told = {name: list(v) if isinstance(v, tuple) else v for name, v in theirs.items() if name in ours}
    assert {"do_center_crop": False, **told} == ours and told.keys() | {"do_center_crop"} == ours.keys()
