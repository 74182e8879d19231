"""Data sets, transforms, mixing and the loader."""

import functools
import hashlib
import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

import minigrad as mg
from minigrad.data import (
    ArrayDataset,
    DataLoader,
    Dataset,
    Digits,
    ImageError,
    ImageFolder,
    Subset,
    cutmix,
    mixup,
    read_image,
)
from minigrad.data import transforms as T


def generator(seed=0):
    return np.random.default_rng(seed)


# ---- data sets -------------------------------------------------------------------------------------------------------


def test_digits_are_the_published_ones_and_their_division_is_fixed():
    parts = [Digits(split) for split in ("train", "val", "test")]
    everything = Digits("all")
    assert everything.images.shape == (1797, 8, 8) and everything.images.dtype == np.uint8
    assert everything.images.max() == 16 and np.bincount(everything.labels).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180
    ]  # fmt: skip
    assert everything.images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0] and everything.labels[0] == 0
    assert [len(part) for part in parts] == [1259, 179, 359]
    rows = [image.tobytes() for part in parts for image in part.images]
    assert sorted(rows) == sorted(image.tobytes() for image in everything.images) and len(set(rows)) == 1797
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert abs(np.bincount(part.labels) / np.bincount(everything.labels) - share).max() < 0.005
    content = b"".join(part.images.tobytes() + part.labels.astype(np.uint8).tobytes() for part in parts)
    assert hashlib.sha256(content).hexdigest() == "0d0225e9e9ab21d1b0d0aff50884353092d598ae57c0c688295d20fda92c686d"


def test_digits_items_and_statistics():
    digits = Digits("train")
    image, label = digits[3]
    assert image.shape == (8, 8) and type(label) is int and digits.classes == list("0123456789")
    assert abs((digits.images / 16).mean() - digits.mean) < 1e-4 and abs((digits.images / 16).std() - digits.std) < 1e-4
    with pytest.raises(ValueError, match="'train', 'val', 'test' or 'all', got 'valid'"):
        Digits("valid")


def test_array_dataset():
    data = ArrayDataset(mg.tensor(np.arange(24, dtype=np.float32).reshape(3, 1, 2, 4)), [2, 0, 1])
    assert len(data) == 3 and data.classes == ["0", "1", "2"] and data.labels.dtype == np.int64
    assert data[1][0].shape == (1, 2, 4) and data[1][1] == 0
    images, labels = data.batch([2, 0])
    np.testing.assert_array_equal(images, data.images[[2, 0]])
    assert labels.tolist() == [1, 2]
    assert len(ArrayDataset(np.zeros((0, 4, 4)), [])) == 0


@pytest.mark.parametrize(
    ("shape", "labels", "classes", "words"),
    [
        ((3, 4, 4), [0, 1], None, r"got \(3, 4, 4\) and \(2,\)"),
        ((2, 4, 4), [[0], [1]], None, r"\(2, 1\)"),
        ((2, 4, 4), [0, -1], None, "from 0, got int64, -1 to 0"),
        ((2, 4, 4), [0.0, 1.0], None, "whole numbers"),
        ((2, 4, 4), [0, 2], ["a", "b"], "labels up to 2, but only 2 classes"),
    ],
)
def test_array_dataset_checks(shape, labels, classes, words):
    with pytest.raises(ValueError, match=words):
        ArrayDataset(np.zeros(shape), labels, classes)


def test_subset():
    digits = Digits("test")
    part = Subset(Subset(digits, [5, 3, 8]), [2, 0])
    assert len(part) == 2 and part.classes == digits.classes
    np.testing.assert_array_equal(part[0][0], digits.images[8])
    np.testing.assert_array_equal(part.batch(np.array([1, 0]))[0], digits.images[[5, 8]])
    with pytest.raises(IndexError, match="a data set of 359 has no items 0 to 359"):
        Subset(digits, [0, 359])


def test_a_dataset_of_ones_own_needs_two_methods():
    class Squares(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return np.full((1, 2, 2), index**2, np.uint8), index

    batches = list(DataLoader(Squares(), batch_size=2))
    assert [labels.tolist() for _, labels in batches] == [[0, 1], [2, 3], [4]]
    assert batches[1][0].numpy()[:, 0, 0, 0].tolist() == [4, 9]
    with pytest.raises(NotImplementedError, match="Dataset must define __len__"):
        len(Dataset())


# ---- image files -----------------------------------------------------------------------------------------------------


def picture(height=6, width=9, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return generator(seed).integers(0, 256, shape, np.uint8)


def test_read_image(tmp_path):
    pixels = picture()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels.transpose(2, 0, 1))
    assert read_image(tmp_path / "a.png", "L").shape == (1, 6, 9)
    assert read_image(tmp_path / "a.png", size=4).shape == (3, 4, 4)
    grey = picture(channels=1)
    for name in ("a.bmp", "a.pgm", "a.gif", "a.tif"):
        Image.fromarray(grey).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name, "L")[0], grey)
    with pytest.raises(ValueError, match="mode must be"):
        read_image(tmp_path / "a.png", "CMYK")


def test_transparent_parts_become_white_and_16_bits_8(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image[:, 0, 0].tolist() == [10, 20, 30] and (image.reshape(3, 4)[:, 1:] == 255).all()
    Image.fromarray(np.array([[0, 256, 65535]], np.uint16)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png", "L").tolist() == [[[0, 1, 255]]]


def test_photographs_are_turned_upright(tmp_path):
    pixels = picture(4, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(pixels, -1).transpose(2, 0, 1))


def bomb(width, height):
    """A PNG of a few bytes that claims a size."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_files_that_are_no_images(tmp_path):
    good = io.BytesIO()
    Image.fromarray(picture(40, 40)).save(good, "PNG")
    bad = {
        "text.png": b"not an image",
        "empty.png": b"",
        "cut.png": good.getvalue()[:400],
        "large.png": bomb(10_000, 10_000),
        "giant.png": bomb(100_000, 100_000),
        "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=name):
            read_image(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="folder.png"):
        read_image(tmp_path / "folder.png")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_image(tmp_path / "none.png")


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate(("cat", "ant", "bee")):
        (tmp_path / name / "more").mkdir(parents=True)
        for i in range(3):
            place = tmp_path / name / ("more" if i == 2 else ".") / f"{i}.PNG"
            Image.fromarray(picture(10, 14 + i, seed=10 * k + i)).save(place)
        (tmp_path / name / "notes.txt").write_text("no image")
        (tmp_path / name / "._0.PNG").write_text("no image either")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "loose.png").write_text("in no class")
    return tmp_path


def test_image_folder(folder):
    data = ImageFolder(folder, size=8)
    assert data.classes == ["ant", "bee", "cat"] and data.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert data[4][0].shape == (3, 8, 8) and data[4][0].dtype == np.uint8 and data[4][1] == 1
    images, labels = next(iter(DataLoader(data, batch_size=9, num_workers=2)))
    assert images.shape == (9, 3, 8, 8) and labels.tolist() == data.labels.tolist()
    assert ImageFolder(folder, size=8, mode="L").batch([0, 5])[0].shape == (2, 1, 8, 8)
    with pytest.raises(ValueError, match="differ in shape"):
        ImageFolder(folder).batch(range(9))


def test_image_folder_with_a_bad_file(folder):
    (folder / "bee" / "1.PNG").write_bytes(b"broken")
    with pytest.raises(ImageError, match="1.PNG is not an image"):
        ImageFolder(folder, size=8).batch(range(9))
    data = ImageFolder(folder, size=8, on_error="skip")
    with pytest.warns(UserWarning, match="skipped: .*1.PNG"):
        images, labels = data.batch(range(9))
    assert images.shape == (8, 3, 8, 8) and labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    with pytest.warns(UserWarning):
        assert len(list(DataLoader(data, batch_size=1))) == 8
    with pytest.raises(ImageError):
        data[4]


def test_image_folder_checks(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="has no images in folders of its own"):
        ImageFolder(tmp_path)
    with pytest.raises(ValueError, match="'raise' or 'skip', got 'ignore'"):
        ImageFolder(tmp_path, on_error="ignore")


# ---- transforms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, (5, 9), (8, 8), (3, 20)])
def test_resize_is_pillows_antialiased_bilinear(size):
    images = generator().random((4, 2, 8, 13)).astype(np.float32)
    resized = T.Resize(size)(images)
    height, width = (size, size) if isinstance(size, int) else size
    assert resized.shape == (4, 2, height, width) and resized.dtype == np.float32
    for image, result in zip(images.reshape(8, 8, 13), resized.reshape(8, height, width), strict=True):
        expected = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(result, np.asarray(expected), atol=2e-6)


@pytest.mark.parametrize("size", [(32, 32), (5, 9), (3, 20)])
def test_resize_without_antialias_is_interpolate(size):
    images = generator().random((4, 2, 8, 13)).astype(np.float32)
    expected = mg.nn.functional.interpolate(mg.tensor(images), size=size, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(T.Resize(size, antialias=False)(images), expected.numpy(), atol=2e-6)


def test_resize_known_values():
    row = np.array([[0, 4]], np.uint8)
    assert T.Resize((1, 4))(row).tolist() == [[0, 1, 3, 4]]
    assert T.Resize((1, 1))(row).tolist() == [[2]]
    with pytest.raises(ValueError, match="size"):
        T.Resize(0)


def test_to_float_and_normalize():
    images = np.array([0, 8, 16], np.uint8).reshape(1, 3, 1, 1)
    assert T.ToFloat(16)(images).ravel().tolist() == [0, 0.5, 1]
    normalized = T.Normalize([0, 8, 16], [1, 2, 4])(images)
    assert normalized.dtype == np.float32 and normalized.ravel().tolist() == [0, 0, 0]
    assert T.Normalize(8, 4)(images).ravel().tolist() == [-2, 0, 2]


def test_center_crop():
    images = np.arange(2 * 5 * 6).reshape(2, 1, 5, 6)
    np.testing.assert_array_equal(T.CenterCrop((3, 4))(images), images[..., 1:4, 1:5])
    with pytest.raises(ValueError, match="5 x 6 pixels can't be cropped to 7 x 7"):
        T.CenterCrop(7)(images)


def test_random_shift_moves_every_image_by_itself():
    images = np.zeros((500, 2, 7, 7), np.uint8)
    images[:, 0, 3, 3], images[:, 1, 3, 3] = 1, 2
    shifted = T.RandomShift(2)(images, generator())
    assert shifted.shape == images.shape and shifted.dtype == np.uint8
    n, rows, columns = np.nonzero(shifted[:, 0])
    assert n.tolist() == list(range(500)) and (2 * shifted[:, 0] == shifted[:, 1]).all()
    assert set(rows) == set(columns) == set(range(1, 6)) and len(set(zip(rows, columns, strict=True))) == 25
    assert images.sum() == 1500
    filled = T.RandomShift(7, fill=9)(np.zeros((20, 1, 2, 2), np.uint8), generator())
    assert set(np.unique(filled)) == {0, 9}


def test_random_crop_cuts_a_window():
    images = np.arange(50 * 36).reshape(50, 1, 6, 6)
    cut = T.RandomCrop((3, 4))(images, generator())
    places = set()
    for image, window in zip(images[:, 0], cut[:, 0], strict=True):
        top, left = divmod(int(window[0, 0] - image[0, 0]), 6)
        np.testing.assert_array_equal(window, image[top : top + 3, left : left + 4])
        places.add((top, left))
    assert len(places) == 12
    assert T.RandomCrop(8, padding=1)(images, generator()).shape == (50, 1, 8, 8)
    with pytest.raises(ValueError, match="can't be cropped"):
        T.RandomCrop(7)(images, generator())


def test_random_flip():
    images = np.arange(400 * 6).reshape(400, 1, 2, 3)
    flipped = T.RandomHorizontalFlip()(images, generator())
    changed = (flipped != images).any((1, 2, 3))
    np.testing.assert_array_equal(flipped[changed], images[changed][..., ::-1])
    assert 150 < changed.sum() < 250
    np.testing.assert_array_equal(T.RandomHorizontalFlip(1.0)(images, generator()), images[..., ::-1])


@pytest.mark.parametrize("transform", [T.RandomShift(1), T.RandomCrop(4, padding=1), T.RandomHorizontalFlip(1.0)])
@pytest.mark.parametrize("shape", [(4, 4), (3, 4, 4), (2, 3, 4, 4)])
def test_random_transforms_take_single_images_and_need_a_generator(transform, shape):
    images = np.arange(np.prod(shape)).reshape(shape)
    assert transform(images, generator()).shape == shape
    with pytest.raises(TypeError, match="draws at random"):
        transform(images)


def test_compose_shows_itself():
    transform = T.Compose([T.Resize(4), T.RandomShift(1), T.ToFloat(16)])
    assert transform(np.ones((2, 1, 8, 8)), generator()).shape == (2, 1, 4, 4)
    assert repr(transform).splitlines()[1] == "    Resize(size=(4, 4), antialias=True),"


# ---- mixing ----------------------------------------------------------------------------------------------------------


def test_mixup():
    images = generator().random((16, 1, 4, 4)).astype(np.float32)
    labels = np.arange(16)
    mixed, soft = mixup(images, labels, generator(3), num_classes=16, alpha=0.8)
    assert soft.shape == (16, 16) and soft.dtype == mixed.dtype == np.float32
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed.reshape(16, -1), soft @ images.reshape(16, -1), rtol=1e-5)  # the same mixture
    assert mixup(np.ones((4, 1, 2, 2), np.uint8), labels[:4], generator(), num_classes=4)[0].max() <= 1.00001


def test_cutmix_areas_match_the_labels():
    images = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None, None], (8, 1, 20, 30)).copy()
    areas = []
    for seed in range(200):
        mixed, soft = cutmix(images, np.arange(8), generator(seed), num_classes=8)
        counts = np.stack([(mixed == k).mean((1, 2, 3)) for k in range(8)], 1)
        np.testing.assert_allclose(soft, counts, atol=1e-6)
        areas.append(1 - soft.diagonal().mean())
        own = mixed[0, 0] != 0
        if own.any():  # a box
            rows, columns = np.nonzero(own)
            assert own[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    assert 0.2 < np.mean(areas) < 0.5 and (images == np.arange(8).reshape(8, 1, 1, 1)).all()


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_mixing_checks_the_labels(mix):
    with pytest.raises(ValueError, match="labels from 0 to 3 don't fit num_classes=3"):
        mix(np.zeros((4, 1, 4, 4)), np.arange(4), generator(), num_classes=3)


# ---- the loader ------------------------------------------------------------------------------------------------------

AUGMENT = T.Compose([T.RandomShift(1), T.RandomHorizontalFlip(), T.ToFloat(16)])


def epoch_of(loader):
    return [(images.numpy().copy(), labels.numpy().copy()) for images, labels in loader]


def assert_equal(a, b):
    assert len(a) == len(b)
    for (images, labels), (others, other_labels) in zip(a, b, strict=True):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)


@pytest.mark.parametrize("device", ["cpu", "mlx"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches(device, num_workers):
    digits = Digits("test")
    loader = DataLoader(digits, batch_size=100, device=device, num_workers=num_workers)
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    for k, (images, labels) in enumerate(batches):
        n = min(100, 359 - 100 * k)
        assert images.shape == (n, 1, 8, 8) and labels.shape == (n,)
        assert images.dtype == mg.float32 and labels.dtype == mg.int64 and images.device == labels.device == device
        np.testing.assert_array_equal(images.numpy()[:, 0], digits.images[100 * k : 100 * k + n])
    assert len(DataLoader(digits, batch_size=100, drop_last=True)) == 3
    assert sum(len(y) for _, y in DataLoader(digits, batch_size=100, drop_last=True)) == 300
    assert len(DataLoader(Subset(digits, []))) == 0 and list(DataLoader(Subset(digits, []))) == []


def test_an_epoch_depends_on_seed_and_epoch_alone():
    digits = Subset(Digits("train"), range(300))
    make = functools.partial(DataLoader, digits, batch_size=64, shuffle=True, transform=AUGMENT)
    loader = make(seed=5)
    first, second = epoch_of(loader), epoch_of(loader)
    np.random.seed(3)
    np.random.random(7)
    again = make(seed=5, num_workers=3)
    again.set_epoch(1)
    assert_equal(epoch_of(again), second)
    again.set_epoch(0)
    assert_equal(epoch_of(again), first)
    assert loader.epoch == 2
    for other in (second, epoch_of(make(seed=6))):
        assert not np.array_equal(other[0][1], first[0][1])
    everything = np.concatenate([labels for _, labels in first])
    assert np.bincount(everything).tolist() == np.bincount(digits.batch(range(300))[1]).tolist()
    middle = make(seed=5)
    middle.set_epoch(1, first_batch=2)
    assert_equal(epoch_of(middle), second[2:])
    assert_equal(epoch_of(middle), epoch_of(loader))


def test_mixing_in_the_loader():
    mix = functools.partial(mixup, num_classes=10)
    images, labels = next(iter(DataLoader(Digits("val"), batch_size=32, transform=AUGMENT, mix=mix)))
    assert images.shape == (32, 1, 8, 8) and labels.shape == (32, 10) and labels.dtype == mg.float32


def test_errors_in_workers_arrive_and_threads_end():
    class Broken(Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, index):
            if index == 7:
                raise RuntimeError("item 7 is broken")
            return np.zeros((2, 2)), 0

    seen = 0
    with pytest.raises(RuntimeError, match="item 7"):
        for _ in DataLoader(Broken(), batch_size=2, num_workers=2):
            seen += 1
    assert seen == 3
    before = threading.active_count()
    iterator = iter(DataLoader(Digits("train"), batch_size=10, num_workers=2))
    next(iterator)
    assert threading.active_count() > before
    iterator.close()
    assert threading.active_count() == before


def test_loader_checks():
    with pytest.raises(ValueError, match="batch_size >= 1"):
        DataLoader(Digits("val"), batch_size=0)
    with pytest.raises(ValueError, match=r"got shape \(4, 2\)"):
        next(iter(DataLoader(ArrayDataset(np.zeros((4, 2)), [0] * 4))))
