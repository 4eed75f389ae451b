"""Errors that are not defects of the program: their exception, and the lines that answer them."""

from app.errors.input_error import DEBUG, InputError, print_answer, take_debug
from app.errors.line_faults import LineFaults, row_of

__all__ = ["DEBUG", "InputError", "LineFaults", "print_answer", "row_of", "take_debug"]
