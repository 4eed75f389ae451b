"""What went wrong by a person's hand, in a line or two: what came, what is allowed, what to do."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import re
import typing
from argparse import ArgumentError
from collections.abc import Iterable, Iterator

from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from app.errors import InputError
from app.machine_faults import describe_fault, words_of
from app.norms import NormError

_TOP_KEYS = (
    "model", "data", "norm", "run_root", "seed_everything", "ckpt_path", "test_after_fit", "output", "output_format",
    "patience", "checkpoint_every_steps", "checkpoint_every_minutes", "average_checkpoints", "allow_other_processes",
    "config", "watch_norms_every_steps", "compile",
)  # fmt: skip
_HELP = "see python train.py fit --help"


def explain(error: BaseException) -> str | None:
    """The message for the person who made the mistake or has the machine, or None if the fault is neither's but ours.

    The parser wraps what a class raises while it is built, and nests messages of its own; the innermost is what counts.
    What a run noted of the exception follows behind it.
    """
    chain = list(_chain(error))
    message = _message(chain)
    if message is None:
        return None
    notes = [note for cause in reversed(chain) for note in getattr(cause, "__notes__", [])]
    return "".join([message, *(note if note.startswith("\n") else f" {note}" for note in notes)])


def _message(chain: list[BaseException]) -> str | None:
    for cause in chain:
        if isinstance(cause, (InputError, NormError)):
            return words_of(cause)
    if fault := describe_fault(chain[0]):
        return fault
    for cause in chain:
        if isinstance(cause, ArgumentError):
            return _condense(str(cause))
        if isinstance(cause, MisconfigurationException):
            return f"trainer: {' '.join(str(cause).split())}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []  # an exception that is raised twice can be among its own causes
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _condense(message: str) -> str:
    """One line out of the parser's paragraphs."""
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    key = ".".join(keys)
    class_path = next(iter(re.findall(r"given class_path '([\w.]+)'", message)), None)
    unknown = (
        re.search(r"Group '(?P<group>[\w.]+)' does not accept option '(?P<option>[\w.]+)'", message)
        or re.search(r"(?:Option|option) '(?P<option>[\w.]+)'(?: is not accepted)?", message)
        or re.search(r"unrecognized arguments: --(?P<option>[\w.]+)", message)
    )
    if unknown:
        group = unknown.groupdict().get("group")
        prefix = f"{key}.{group}" if group else key
        option = f"{prefix}.{unknown['option']}" if prefix else unknown["option"]
        return _unknown_key(option, [f"{prefix}.{name}" for name in _names(class_path, group)])
    missing = re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message)
    if missing:
        module, name = missing.groups()
        classes = [item for item in dir(importlib.import_module(module)) if item[0].isupper()]
        return f"{key}.class_path is {module}.{name}{_did_you_mean(name, classes)} allowed: {', '.join(classes)}"
    got = re.search(r"Got value: (.*)", message) or re.search(r"Given value: (.*)", message)
    kinds = [_kind(kind) for kind in re.findall(r"Expected an? (.+?)(?:\. Got value|$)", message, re.M)]
    if got and kinds:
        return f"{key} is {got[1]!r}; allowed: {' or '.join(kind for kind in kinds if kind != 'NoneType')}"
    line = " ".join(message.split())
    return f"{line.replace('fit.data', 'data').replace('fit.model', 'model')}; {_HELP}"


def _names(class_path: str | None, group: str | None) -> list[str]:
    """The keys that a class, or a dataclass among its arguments, or the command itself takes."""
    if class_path is None:
        return []
    module, _, name = class_path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    if group is None:
        return [name for name in inspect.signature(cls).parameters if name not in ("norm", "facts", "seed")]
    kind = typing.get_type_hints(cls.__init__).get(group)
    kinds = [kind, *typing.get_args(kind)]
    return [field.name for found in kinds if dataclasses.is_dataclass(found) for field in dataclasses.fields(found)]


def _unknown_key(option: str, known: list[str]) -> str:
    if not known or option.startswith("trainer"):
        known = [*_TOP_KEYS, *(f"trainer.{name}" for name in inspect.signature(Trainer).parameters)]
        return f"unknown key {option}{_did_you_mean(option, known)} {_HELP}"
    return f"unknown key {option}{_did_you_mean(option, known)} allowed: {', '.join(known)}"


def _did_you_mean(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ";"


def _kind(text: str) -> str:
    """`<class 'float'>` as a number, `typing.Literal['a', 'b']` as its values."""
    text = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", text)
    literal = re.match(r"typing\.Literal\[(.*)\]", text)
    words = {"float": "a number", "int": "a whole number", "bool": "true or false"}
    return literal[1] if literal else words.get(text, text)
