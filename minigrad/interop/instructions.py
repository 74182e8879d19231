"""A pickle's instructions, one after another; what they do, `pickled.Machine` knows.

The file is read as a stream. Long texts are skipped, and there is a limit to all others and to the number of instructions, so that
memory stays small whatever a file says.
"""

import io
import pickletools
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

MOST_INSTRUCTIONS = 2 << 20  # PVTv2-B5 with an average and AdamW's state has 0.2 million; one makes up to 200 bytes
LONGEST_TEXT = 4096  # bytes; no name of a tensor is longer
MOST_TEXT = 32 << 20  # bytes of all texts that are kept
OPCODES = {op.code.encode("latin-1"): op for op in pickletools.opcodes}
LENGTHS = {  # how the length of a text, of bytes or of a long number is written
    "SHORT_BINSTRING": "<B", "BINSTRING": "<i", "SHORT_BINBYTES": "<B", "BINBYTES": "<I", "BINBYTES8": "<Q", "BYTEARRAY8": "<Q",
    "SHORT_BINUNICODE": "<B", "BINUNICODE": "<I", "BINUNICODE8": "<Q", "LONG1": "<B", "LONG4": "<i",
}  # fmt: skip
LONG_TEXT = object()  # stands for a text that was skipped


def instructions(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """The instructions of a pickle up to its end, each with its argument; of a long text, `LONG_TEXT`.

    Raises:
        ValueError: when it is damaged, or there are too many of them or too much text.
    """
    kept = 0
    for _ in range(MOST_INSTRUCTIONS):
        op = OPCODES.get(file.read(1))
        if op is None:
            raise ValueError("it doesn't end, or has an unknown instruction")
        arg = None
        if op.name in LENGTHS:
            arg = _text(file, op.name)
            kept += len(arg) if isinstance(arg, str | bytes) else 0
        elif op.arg is not None and op.arg.n < 0:  # lines
            lines = b"".join(_line(file) for _ in range(2 if op.name in ("GLOBAL", "INST") else 1))
            kept += len(lines)
            arg = op.arg.reader(io.BytesIO(lines))
        elif op.arg is not None:
            arg = op.arg.reader(file)
        if kept > MOST_TEXT:
            raise ValueError(f"it has more than {MOST_TEXT} bytes of texts, more than any checkpoint")
        yield op.name, arg
        if op.name == "STOP":
            return
    raise ValueError(f"it has more than {MOST_INSTRUCTIONS} instructions, more than any checkpoint")


def _text(file: BinaryIO, kind: str) -> Any:
    form = LENGTHS[kind]
    (length,) = struct.unpack(form, file.read(struct.calcsize(form)))
    if length < 0:
        raise ValueError("a text has a negative length")
    if length > (255 if kind == "LONG4" else LONGEST_TEXT):
        while length:
            skipped = len(file.read(min(length, 1 << 16)))
            if not skipped:
                raise ValueError("it ends within a text")
            length -= skipped
        return LONG_TEXT
    data = file.read(length)
    if len(data) != length:
        raise ValueError("it ends within a text")
    if kind.startswith("LONG"):
        return int.from_bytes(data, "little", signed=True)
    if "UNICODE" in kind:
        return data.decode("utf-8", "surrogatepass")
    return data.decode("latin-1") if "STRING" in kind else data


def _line(file: BinaryIO) -> bytes:
    line = file.readline(LONGEST_TEXT)
    if not line.endswith(b"\n"):
        raise ValueError("it ends within a line, or has a long one")
    return line
