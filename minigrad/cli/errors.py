"""What the commands share: the mistake, and one line of text for it."""


class UsageError(Exception):
    """The command line can't be understood."""


def one_line(error) -> str:
    """The text of an error on a single line, as a terminal can show it."""
    return plain("; ".join(part.strip() for part in str(error).splitlines() if part.strip())) or type(error).__name__


def plain(text: str) -> str:
    """A name from someone's file as a terminal can show it: on one line, and without what changes the terminal.

    >>> plain("a\\x1b[2J dog\\n")
    'a�[2J dog�'
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
