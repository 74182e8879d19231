"""`models.ImageProcessor`: what pictures become, the files that it reads and writes, and what it refuses."""

import io
import json
import resource
import sys
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

import minigrad as mg
from minigrad.data import ImageError, open_image
from minigrad.models import ImageProcessor

HF = {
    "image_processor_type": "PvtImageProcessor",
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
TIMM = {
    "architecture": "pvt_v2_b0",
    "num_classes": 1000,
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
}


def picture(height=40, width=60, channels=3, seed=0):
    """Smooth noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, channels), np.uint8)
    big = Image.fromarray(small[..., 0] if channels == 1 else small).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(big)


def exact(processor, image):
    """The pixels of one picture, 0 … 255."""
    return processor.restore(processor(image).numpy()[0])


# ---- what is computed ------------------------------------------------------------------------------------------------


def test_the_default_is_hugging_faces_squash():
    pixels = picture(300, 200)
    out = ImageProcessor()(pixels)
    assert out.shape == (1, 3, 224, 224) and out.dtype == mg.float32
    resized = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR), np.float64)
    expected = (resized / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(out.numpy()[0], expected.transpose(2, 0, 1), atol=2e-6)
    np.testing.assert_array_equal(exact(ImageProcessor(), pixels), resized.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("name", "number"), [("nearest", 0), ("lanczos", 1), ("bilinear", 2), ("bicubic", 3), ("box", 4)]
)
def test_filters(name, number):
    pixels = picture()
    processor = ImageProcessor(size=(24, 32), resample=name)
    assert processor == ImageProcessor(size=(24, 32), resample=number)
    expected = np.asarray(Image.fromarray(pixels).resize((32, 24), Image.Resampling(number)))
    np.testing.assert_array_equal(exact(processor, pixels), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(100, 100), (61, 97), (97, 61), (33, 300), (20, 21)])
@pytest.mark.parametrize(
    ("mode", "middle"), [(None, lambda n, m: (n - m) // 2), ("center", lambda n, m: round((n - m) / 2))]
)
def test_shorter_side_and_centre_crop(shape, mode, middle):
    pixels = picture(*shape)
    height, width = shape
    scaled = (int(48 * height / width), 48) if width <= height else (48, int(48 * width / height))
    big = np.asarray(Image.fromarray(pixels).resize(scaled[::-1], Image.Resampling.BICUBIC))
    top, left = (middle(n, 41) for n in scaled)
    processor = ImageProcessor(
        size={"shortest_edge": 48}, resample="bicubic", do_center_crop=True, crop_size=41, crop_mode=mode
    )
    np.testing.assert_array_equal(exact(processor, pixels), big[top : top + 41, left : left + 41].transpose(2, 0, 1))


def test_a_crop_larger_than_the_picture_is_black_around_it():
    pixels = picture(10, 13)
    out = exact(ImageProcessor(do_resize=False, do_center_crop=True, crop_size=(15, 20)), pixels).transpose(1, 2, 0)
    np.testing.assert_array_equal(
        out[3:13, 4:17], pixels
    )  # the odd pixel above and to the left, as Hugging Face has it
    assert out.sum() == pixels.sum()


def test_border_keeps_the_whole_picture():
    processor = ImageProcessor(size=(32, 32), do_center_crop=True, crop_size=32, crop_mode="border", resample="nearest")
    out = exact(processor, np.full((10, 20, 3), 200, np.uint8))
    assert (
        (out[:, 8:24] == 200).all()
        and out[:, 0, 0].tolist() == [124, 116, 104]
        and out[:, 31, 31].tolist() == [124, 116, 104]
    )


def test_very_long_pictures_take_little_memory_and_give_the_window():
    """Scaled as a whole the first would be 4,237,837 × 224 pixels; the last would be 224 × 700,000 on the way."""
    long = np.repeat(np.array([[10, 240, 10, 240]], np.uint8), (349_990, 10, 10, 349_990), 1).repeat(37, 0)
    crop = ImageProcessor(
        size={"shortest_edge": 224}, do_center_crop=True, crop_size=224, image_mean=[0.5], image_std=[0.5]
    )
    part = long[:, 348_990:351_010]  # 12,229 when scaled: odd, too
    for image, small in ((long, part), (long.T, part.T)):
        assert abs(exact(crop, image).astype(int) - exact(crop, small)).mean() < 1
    wider = ImageProcessor(
        size={"shortest_edge": 200}, do_center_crop=True, crop_size=224, image_mean=[0.5], image_std=[0.5]
    )
    bordered = exact(wider, long)[0]
    assert (bordered[:12] == 0).all() and (bordered[-12:] == 0).all() and bordered[12:-12].min() == 10
    squash = ImageProcessor(image_mean=[0.5], image_std=[0.5])
    assert abs(exact(squash, long.T).mean() - 125) < 1
    with pytest.raises(ImageError, match=r"would become \d+ x 224 pixels, more than"):
        ImageProcessor(size={"shortest_edge": 224})(long)


def test_steps_can_be_left_out():
    pixels = picture(20, 30)
    plain = ImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)
    np.testing.assert_array_equal(plain(pixels).numpy()[0], pixels.transpose(2, 0, 1))
    np.testing.assert_array_equal(exact(plain, pixels), pixels.transpose(2, 0, 1))
    halves = ImageProcessor(do_resize=False, image_mean=0.5, image_std=0.5)(pixels).numpy()
    np.testing.assert_allclose(halves[0], pixels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert ImageProcessor().output_size == (224, 224) and plain.output_size is None
    assert ImageProcessor(size={"shortest_edge": 9}).output_size is None
    assert ImageProcessor(size={"shortest_edge": 9}, do_center_crop=True, crop_size=(7, 8)).output_size == (7, 8)


def test_one_channel_means_grey():
    grey = ImageProcessor(size=8, image_mean=[0.5], image_std=[0.5])
    out = exact(grey, np.full((20, 20, 3), (255, 0, 0), np.uint8))
    assert out.shape == (1, 8, 8) and (out == 76).all()  # 0.299 of red


def test_on_both_devices(device):
    out = ImageProcessor(size=16)(picture(), device=device)
    assert out.device == device and out.dtype == mg.float32
    np.testing.assert_array_equal(out.numpy(), ImageProcessor(size=16)(picture()).numpy())


# ---- what pictures come in -------------------------------------------------------------------------------------------


def test_paths_pillow_images_arrays_and_lists_of_them(tmp_path):
    pixels, processor = picture(), ImageProcessor(size=(24, 32))
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    first = processor(path)
    chw = pixels.transpose(2, 0, 1)
    several = [
        path,
        str(path),
        Image.fromarray(pixels),
        pixels,
        chw,
        mg.tensor(chw.copy()),
        pixels / 255,
        pixels.astype(int),
    ]
    out = processor(several)
    assert out.shape == (8, 3, 24, 32)
    for i in range(8):
        np.testing.assert_array_equal(out.numpy()[i], first.numpy()[0])
        np.testing.assert_array_equal(processor(several[i]).numpy(), first.numpy())
    np.testing.assert_array_equal(processor(np.stack([pixels, pixels])).numpy(), out.numpy()[:2])
    np.testing.assert_array_equal(processor(np.stack([chw, chw])).numpy(), out.numpy()[:2])
    assert (exact(processor, picture(channels=1)) == exact(processor, picture(channels=1))[0]).all()


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F"]
)
def test_modes(mode):
    """A picture of few colours survives every mode that Pillow has, in memory."""
    pixels = np.where(picture(seed=3, channels=1) > 120, 255, 0).astype(np.uint8)
    pixels = pixels[..., None].repeat(3, 2)
    image = Image.fromarray(pixels)
    through = {"La": "LA", "PA": "P", "RGBa": "RGBA", "HSV": "RGB"}.get(mode)
    image = (
        image.convert("L").convert(through) if mode in ("La", "PA") else image.convert(through) if through else image
    ).convert(mode)
    np.testing.assert_array_equal(np.asarray(open_image(image)), pixels)


def test_sixteen_bits_and_ranges_that_are_not_stated():
    deep = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for image in (deep, Image.fromarray(deep), Image.fromarray(deep.astype(np.int32)), deep.astype(np.float32)):
        assert np.asarray(open_image(image, "L")).tolist() == [[0, 0, 1, 128, 255]]
    assert np.asarray(open_image(np.array([[0.0, 0.25, 1.0]]), "L")).tolist() == [[0, 64, 255]]
    assert np.asarray(open_image(Image.fromarray(np.array([[0.0, 0.25, 1.0]], np.float32)), "L")).tolist() == [
        [0, 64, 255]
    ]
    assert np.asarray(open_image(np.array([[0, 7, 255]]), "L")).tolist() == [[0, 7, 255]]
    assert np.asarray(open_image(np.array([[True, False]]), "L")).tolist() == [[255, 0]]


def test_transparency_becomes_white():
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    clear[1, 1] = (0, 0, 0, 51)
    for image in (clear, clear.transpose(2, 0, 1), Image.fromarray(clear)):
        assert np.asarray(open_image(image)).reshape(4, 3).tolist() == [[10, 20, 30], [255] * 3, [255] * 3, [204] * 3]
    palette = Image.new("P", (2, 1))
    palette.putpalette([1, 2, 3, 4, 5, 6])
    palette.putpixel((1, 0), 1)
    palette.info["transparency"] = 1
    assert np.asarray(open_image(palette)).tolist() == [[[1, 2, 3], [255, 255, 255]]]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(tmp_path, format, orientation):
    upright = np.zeros((32, 48), np.uint8)
    upright[:16, :16] = 250  # a bright corner at the top left
    upright[16:, :16] = 120
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    Image.fromarray(np.ascontiguousarray(stored)).save(
        path, format, exif=exif, **({"lossless": True} if format == "WEBP" else {})
    )
    read = np.asarray(open_image(path, "L")).astype(int)
    assert read.shape == (32, 48) and abs(read - upright).max() <= 2
    with open(path, "rb") as file, Image.open(file) as opened:
        assert abs(np.asarray(open_image(opened, "L")).astype(int) - upright).max() <= 2


def test_errors_say_which_picture(tmp_path):
    processor = ImageProcessor(size=8)
    (tmp_path / "no.png").write_text("not a picture")
    cases = [
        ([picture(), tmp_path / "no.png"], ImageError, "no.png is not an image"),
        (tmp_path / "gone.png", FileNotFoundError, "gone.png"),
        (tmp_path, ImageError, "is a folder"),
        ([picture(), np.zeros((2, 3, 5))], ImageError, r"image 1 is an array of shape \(2, 3, 5\)"),
        (np.zeros((0, 5), np.uint8), ImageError, "the image has no pixels"),
        (np.array([[-1.0, 0.5]]), ImageError, r"values from -1.0 to 0.5"),
        (np.array([[np.nan, 0.5]]), ImageError, "values from nan"),
        (np.array([[0, 70000]]), ImageError, "values from 0 to 70000"),
        (np.array([[1j, 2]]), ImageError, "of type complex128"),
        ([None], TypeError, "a path, a Pillow image or an array, got NoneType"),
        (None, TypeError, "and several are a list; got NoneType"),
        ([], ValueError, "the list is empty"),
    ]
    for source, kind, words in cases:
        with pytest.raises(kind, match=words):
            processor(source)
    with pytest.raises(ValueError, match="different shapes"):
        ImageProcessor(do_resize=False)([picture(), picture(44)])


# ---- files -----------------------------------------------------------------------------------------------------------


def test_hugging_faces_file(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({**HF, "_valid_processor_keys": ["images"], "return_tensors": None})
    )
    for source in (tmp_path, tmp_path / "preprocessor_config.json"):
        assert ImageProcessor.from_pretrained(source) == ImageProcessor()
    assert ImageProcessor.from_dict(HF).to_dict() == {**HF, "do_center_crop": False}
    old = {"size": 224, "resample": 3, "crop_pct": 0.875, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    convnext = ImageProcessor.from_dict(old)
    assert (convnext.size, convnext.crop_size) == ({"shortest_edge": 256}, {"height": 224, "width": 224})
    assert ImageProcessor.from_dict(
        {"image_processor_type": "BitImageProcessor", "size": 256, "crop_size": 224}
    ).size == {"shortest_edge": 256}
    assert ImageProcessor.from_dict({**old, "size": {"shortest_edge": 384}}).size == {"height": 384, "width": 384}


def test_an_incomplete_file_has_the_defaults_of_its_class():
    for name in ("ConvNextImageProcessor", "ConvNextImageProcessorFast", "ConvNextFeatureExtractor"):
        key = "feature_extractor_type" if name.endswith("Extractor") else "image_processor_type"
        found = ImageProcessor.from_dict({key: name, "size": {"shortest_edge": 224}})
        assert (found.size, found.crop_size) == ({"shortest_edge": 256}, {"height": 224, "width": 224})
        assert found.image_mean == (0.5, 0.5, 0.5) and found.resample == "bicubic"
    found = ImageProcessor.from_dict(
        {"image_processor_type": "ViTImageProcessor", "do_normalize": True, "image_std": [1, 1, 1]}
    )
    assert (found.image_mean, found.image_std, found.resample) == ((0.5, 0.5, 0.5), (1, 1, 1), "bilinear")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 64}, "names no class .* assumed: resample = bilinear, image_mean = .* image_std = "),
        ({**HF, "image_processor_type": "MyProcessor", "image_mean": None}, "'MyProcessor', .* assumed: image_mean = "),
        ({"do_resize": False, "image_mean": [0.5] * 3}, "assumed: image_std = "),
    ],
)
def test_what_an_incomplete_file_of_no_known_class_leaves_open_is_said(values, message):
    with pytest.warns(UserWarning, match=message) as caught:
        ImageProcessor.from_dict(values)
    assert len(caught) == 1 and caught[0].filename == __file__


def test_a_complete_file_of_another_class_needs_no_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageProcessor.from_dict({"do_resize": False, "do_normalize": False})
        assert ImageProcessor.from_dict({**HF, "image_processor_type": "MyProcessor"}).size == {
            "height": 224,
            "width": 224,
        }


@pytest.mark.parametrize("nested", [True, False])
def test_timms_file(tmp_path, nested):
    (tmp_path / "config.json").write_text(json.dumps(TIMM if nested else TIMM["pretrained_cfg"]))
    processor = ImageProcessor.from_pretrained(tmp_path)
    assert processor.size == {"shortest_edge": 248} and processor.crop_size == {"height": 224, "width": 224}
    assert processor.resample == "bicubic" and processor.crop_mode == "center"
    assert ImageProcessor.from_dict(processor.to_timm()) == processor and processor.to_timm()["crop_pct"] == 0.9


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(3, 224, 224), (3, 192, 256), (1, 33, 31)])
@pytest.mark.parametrize("share", [0.875, 0.9, 0.95, 1.0])
def test_timms_settings_survive_both_files(tmp_path, mode, size, share):
    values = {
        "input_size": size,
        "crop_pct": share,
        "crop_mode": mode,
        "mean": [0.5] * size[0],
        "std": [0.25] * size[0],
    }
    processor = ImageProcessor.from_dict(values)
    assert processor(picture()).shape == (1, *size)
    assert ImageProcessor.from_dict(processor.to_timm()) == processor
    processor.save_pretrained(tmp_path / "new")
    assert ImageProcessor.from_pretrained(tmp_path / "new") == processor


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "nothing about pictures"),
        ({**HF, "do_pad": True}, "do_pad is a step"),
        ({**HF, "size": {"longest_edge": 5}}, "size must be"),
        ({**HF, "size": 10**9}, "size must be"),
        ({**HF, "size": {"height": 0, "width": 5}}, "size must be"),
        ({**HF, "size": True}, "size must be"),
        ({**HF, "resample": 9}, "resample must be"),
        ({**HF, "resample": "cubic"}, "resample must be"),
        ({**HF, "resample": [2]}, "resample must be"),
        ({**HF, "do_resize": "yes"}, "do_resize must be"),
        ({**HF, "do_center_crop": True}, "needs a crop_size"),
        ({**HF, "do_center_crop": True, "crop_size": {"shortest_edge": 9}}, "crop_size must be"),
        ({**HF, "rescale_factor": 0}, "rescale_factor must be"),
        ({**HF, "image_mean": [0.5, 0.5]}, "image_mean must be"),
        ({**HF, "image_mean": "grey"}, "image_mean must be"),
        ({**HF, "image_mean": [0.5], "image_std": [0.5] * 3}, "a value for each channel"),
        ({**HF, "image_std": [0.5, 0, 0.5]}, "image_std must be positive"),
        ({**HF, "image_std": [0.5, float("inf"), 0.5]}, "image_std must be"),
        ({**HF, "crop_mode": "middle"}, "crop_mode must be"),
        ({**HF, "size": 224, "crop_pct": 7}, "crop_pct must lie"),
        ({"input_size": 224}, "input_size must be"),
        ({"input_size": [3, 224, 224], "crop_pct": "all"}, "crop_pct must lie"),
        ({"input_size": [3, 224, 224], "interpolation": "random"}, "resample must be"),
        ({"kind": "digits", "size": 32, "maximum": 16, "mean": [0.3], "std": [0.3]}, "trained on digits"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, values, words):
    with pytest.raises(ValueError, match=words):
        ImageProcessor.from_dict(values)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"{path}: .*{words}"):
        ImageProcessor.from_pretrained(tmp_path)


@pytest.mark.filterwarnings("ignore:the preprocessing names:UserWarning")
def test_files_that_say_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ImageProcessor.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="doesn't say how pictures are prepared"):
        ImageProcessor.from_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    for content in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"size": 1e999}'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="preprocessor_config.json"):
            ImageProcessor.from_pretrained(tmp_path)
    with open(path, "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ValueError, match="too many for a configuration"):
        ImageProcessor.from_pretrained(tmp_path)
    mg.save(tmp_path / "x.safetensors", {"x": mg.zeros(2)})
    with pytest.raises(ValueError, match="x.safetensors doesn't say how pictures are prepared"):
        ImageProcessor.from_pretrained(tmp_path / "x.safetensors")
    for note in ("[", "{}", '{"preprocessing": 3}', "[" * 100_000):
        mg.save(tmp_path / "x.safetensors", {"x": mg.zeros(2)}, metadata={"classifier": note})
        with pytest.raises(ValueError, match="x.safetensors: the note of its training run is damaged"):
            ImageProcessor.from_pretrained(tmp_path / "x.safetensors")
    for processor in (
        ImageProcessor(do_normalize=False),
        ImageProcessor(rescale_factor=1.0),
        ImageProcessor(size={"shortest_edge": 9}),
    ):
        with pytest.raises(ValueError, match="timm always"):
            processor.to_timm()


# ---- fuzzing ---------------------------------------------------------------------------------------------------------


def good_files():
    """Small valid files of every format and many modes."""
    rgb, exif = Image.fromarray(picture(48, 62)), Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text"
    palette, turned = rgb.convert("P"), rgb.rotate(90)
    deep = Image.fromarray(picture(48, 62, 1).astype(np.uint16) * 257)
    wanted = [
        ("PNG", rgb, {}), ("PNG", rgb, {"exif": exif}), ("PNG", palette, {"transparency": 3}), ("PNG", rgb.convert("RGBA"), {}),
        ("PNG", deep, {}), ("PNG", rgb.convert("1"), {}), ("PNG", rgb, {"icc_profile": b"profile" * 20}),
        ("JPEG", rgb, {}), ("JPEG", rgb, {"exif": exif, "progressive": True}), ("JPEG", rgb.convert("CMYK"), {}),
        ("BMP", rgb, {}), ("BMP", palette, {}), ("BMP", rgb.convert("1"), {}), ("BMP", rgb.convert("RGBA"), {}),
        ("GIF", palette, {"transparency": 1}), ("GIF", palette, {"save_all": True, "append_images": [turned.convert("P")]}),
        ("WEBP", rgb, {"exif": exif}), ("WEBP", rgb.convert("RGBA"), {"lossless": True}),
        ("WEBP", rgb, {"save_all": True, "append_images": [turned]}),
        ("PPM", rgb, {}), ("PPM", rgb.convert("L"), {}), ("PPM", rgb.convert("1"), {}),
        *(("TIFF", rgb.convert(mode), {}) for mode in ("RGB", "L", "P", "RGBA", "CMYK", "1", "I", "F", "YCbCr", "LAB")),
        *(("TIFF", rgb, {"compression": c}) for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
        ("TIFF", rgb, {"exif": exif}), ("TIFF", deep, {}), ("TIFF", rgb.convert("1"), {"compression": "group4"}),
    ]  # fmt: skip
    for format, image, settings in wanted:
        buffer = io.BytesIO()
        try:
            image.save(buffer, format, **settings)
        except (OSError, ValueError):  # this build of Pillow can't write it
            continue
        yield format, buffer.getvalue()


def mutated(content, rng):
    """Some bytes changed, put in or taken out, lengths and sizes made extreme, or the end cut off."""
    out = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        end = len(out) if rng.random() < 0.5 else min(len(out), 120)
        if not end:
            break
        at, what = int(rng.integers(end)), rng.integers(6)
        if what == 0:
            out[at] = rng.integers(256)
        elif what == 1:
            out[at] = int(rng.choice([0, 1, 127, 128, 255]))
        elif what == 2:
            del out[at : at + int(rng.integers(1, 20))]
        elif what == 3:
            out[at:at] = rng.integers(0, 256, rng.integers(1, 20), np.uint8).tobytes()
        elif what == 4:
            extreme = int(rng.choice([0, 1, 7000, 0x7FFF, 2**16, 2**24, 2**31 - 1, 2**32 - 1]))
            out[at : at + 4] = extreme.to_bytes(4, "big" if rng.random() < 0.5 else "little")
        elif rng.random() < 0.3:
            del out[at + 1 :]
    return bytes(out)


def with_checksums(png):
    """A PNG whose chunks' checksums are right, so that damage gets past them."""
    out, place = png[:8], 8
    while place + 12 <= len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        chunk = png[place + 4 : place + 8 + length]
        out += png[place : place + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        place += 12 + length
    return out


def test_fuzzed_images_are_read_or_refused_in_a_sentence(tmp_path, samples, seed):
    """Any other exception than an ImageError fails; so do a long time and much memory."""
    count = samples(400)
    rng, files = np.random.default_rng([2024, seed]), list(good_files())
    assert {format for format, _ in files} == {"PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"}
    processor = ImageProcessor(size={"shortest_edge": 32}, do_center_crop=True, crop_size=28)
    path, before, read = tmp_path / "a.img", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for i in range(count):
        format, content = files[i % len(files)]
        content = mutated(content, rng)
        path.write_bytes(with_checksums(content) if format == "PNG" and rng.random() < 0.7 else content)
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert processor(path).shape == (1, 3, 28, 28)
                read += 1
            except ImageError as error:
                assert str(error).startswith(str(path)) and "\n" not in str(error) and len(str(error)) < 600
        assert time.perf_counter() - start < 30, (i, format)
    assert count < 100 or count / 20 < read < count * 0.9
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in a megabyte
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit < 1000


@pytest.mark.filterwarnings("ignore:the preprocessing names:UserWarning")
def test_fuzzed_settings_are_understood_or_refused_in_a_sentence(samples, seed):
    rng = np.random.default_rng([7, seed])
    odd = [
        None,
        True,
        0,
        -1,
        3,
        224,
        10**30,
        0.5,
        float("nan"),
        float("inf"),
        "",
        "bilinear",
        [],
        [1, 2],
        [0.5] * 3,
        {},
        {"height": 5},
        HF,
    ]
    for _ in range(samples(3000)):
        values = dict(
            HF
            if rng.random() < 0.5
            else TIMM["pretrained_cfg"]
            if rng.random() < 0.7
            else {"kind": "images", "maximum": 255}
        )
        names = [*values, "crop_size", "crop_pct", "crop_mode", "do_center_crop", "pretrained_cfg", "mean", "std"]
        for name in rng.choice(names, rng.integers(1, 4)):
            value = odd[rng.integers(len(odd))]
            values[str(name)] = {"shortest_edge": value} if rng.random() < 0.1 else value
        try:
            processor = ImageProcessor.from_dict(values)
        except ValueError as error:
            assert len(str(error)) < 1200
        else:
            ImageProcessor.from_dict(json.loads(json.dumps(processor.to_dict())))
