"""The one exception for what a person typed or supplied wrongly.

`train.py` answers it with its message alone (no traceback) and exit status 2, so the message must say in one
or two lines what came, what is allowed and what to do. Anything else that is raised is a defect of ours.
"""


class InputError(ValueError):
    """A fault in a flag, a YAML, a file or a line of a file; the message is meant for the person who made it."""

    def __str__(self) -> str:
        """The message, with control characters and halves of characters out of broken files as escapes."""
        return "".join(
            letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
            for letter in super().__str__()
        )
