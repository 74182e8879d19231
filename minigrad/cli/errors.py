"""What the commands share: the mistake, and one line of text for it."""


class UsageError(Exception):
    """The command line can't be understood."""


def one_line(error) -> str:
    """The text of an error on a single line."""
    return "; ".join(part.strip() for part in str(error).splitlines() if part.strip()) or type(error).__name__
