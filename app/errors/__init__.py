"""What goes wrong outside the program, and the one line that answers it."""

from app.errors.input_error import DEBUG, InputError, print_answer, take_debug

__all__ = ["DEBUG", "InputError", "print_answer", "take_debug"]
