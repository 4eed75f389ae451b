"""Errors that are not defects of the program: their exception, and the lines that answer them."""

from app.errors.input_error import DEBUG, InputError, print_answer, take_debug

__all__ = ["DEBUG", "InputError", "print_answer", "take_debug"]
