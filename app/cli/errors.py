"""What went wrong by a person's hand, in a line or two: what came, what is allowed, what to do."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import typing
from argparse import ArgumentError
from collections.abc import Iterator
from itertools import groupby

from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from app.errors import InputError
from app.errors.argparse_messages import did_you_mean, rewrite_argparse_error
from app.errors.system_errors import describe_system_error, original_message
from app.norms import NormError

_TOP_KEYS = (
    "model", "data", "norm", "run_root", "seed_everything", "ckpt_path", "test_after_fit", "output", "output_format",
    "patience", "checkpoint_every_steps", "checkpoint_every_minutes", "average_checkpoints", "allow_world_size_change",
    "config", "norm_diagnostics_every_n_steps", "compile", "plots",
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
            return original_message(cause)
    if fault := describe_system_error(chain[0]):
        return fault
    for cause in chain:
        if isinstance(cause, ArgumentError):
            return " ".join(_condense(str(cause)).split())
        if isinstance(cause, MisconfigurationException):
            return f"trainer: {' '.join(str(cause).split())}; change this setting of trainer"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []  # an exception that is raised twice can be among its own causes
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _condense(message: str) -> str:
    """One line out of the parser's paragraphs: they nest, and the innermost says what is wrong."""
    keys = [key for key, _ in groupby(re.findall(r'Parser key "([\w.]+)"', message))]
    key = ".".join(keys)
    class_path = next(iter(re.findall(r"given class_path '([\w.]+)'", message)[::-1]), None)
    if found := re.search(r"Unexpected config: (\w*)", message):
        return f"{found[1]} is empty; give a value, or leave it out"
    if found := re.search(r"Key must be a string, got: (.*)\.", message):
        return f"a key of the settings is {found[1]}, which is no text; correct it, or put it into quotes"
    if found := re.search(r"Spaces not allowed in keys: (.*?)\.", message):
        return f"a key of the settings is {found[1]}, with a space; correct it"
    if option := _unaccepted(message):
        return _unknown_key(key, option.split("."), class_path)
    if key in _CLASSES and (_WRONG_CLASS.search(message) or class_path in _BASES):
        given = re.findall(r"'class_path': '?([^',}]*)|Given value: (.*)", message)
        return _wrong_class(key, class_path or next(filter(None, given[0]), "None"))
    if key in _CLASSES and "Not a valid subclass" in message:
        return f"{key} mixes keys of a class with others; give class_path, and its arguments under init_args"
    missing = re.search(r"the following arguments are required: (.*)", message)
    if missing and key:
        names = " and ".join(f"{key}.{name}" for name in missing[1].split(", "))
        return f"{names} is missing or null; give a value"
    if missing:
        names = re.sub(r"\b\w+\.", "", missing[1]).replace(", ", " and ")
        return f"{names} are not set; give --config FILE, such as configs/quickstart.yaml"
    got = re.search(r"Unable to load config ['\"](.*?)['\"]", message) or re.search(
        r"(?:Got|Given) value: (.*)", message
    )
    kinds = [_kind(kind) for kind in re.findall(r"Expected an? (.+?)(?:\. Got value|$)", message, re.M)]
    kinds = [kind for kind in kinds if kind != "NoneType" and not kind.startswith(("path but", "dot import"))]
    if got and not kinds and (names := _names_under(keys, class_path)):
        kinds = [f"a mapping with {', '.join(names)}"]
    if got and kinds:
        if key in ("model.seed", "data.seed", "seed_everything"):  # linked: one is typed, all are given
            key, kinds = "seed_everything", ["a whole number"]
        nested = re.search(r"NestedArg\(key='.*?', val=(.*)\)", got[1])
        value = nested[1].strip("'\"") if nested else got[1]
        return f"{key} is {value!r}; allowed: {' or '.join(dict.fromkeys(kinds))}"
    if inner := re.search(r"Errors:\s+- (.*)", message):
        return f"{key}: {inner[1]}; {_HELP}"
    message = message.replace("fit.data", "data").replace("fit.model", "model")
    return rewrite_argparse_error(message, [f"--{name}" for name in _top_keys()], _HELP)


_CLASSES = {"model": "app.tasks", "data": "app.datamodules", "trainer.callbacks": "app.callbacks"}
_BASES = ("app.tasks.Task", "app.datamodules.DataModule")  # what the others are made from
_WRONG_CLASS = re.compile(
    "does not correspond to a subclass|Expected a dot import path|No module named|has no attribute|' is not iterable"
)


def _wrong_class(key: str, given: str) -> str:
    module = importlib.import_module(_CLASSES[key])
    kinds = (LightningModule, LightningDataModule, Callback)
    classes = [
        f"{module.__name__}.{name}"
        for name in module.__all__
        if inspect.isclass(item := getattr(module, name)) and issubclass(item, kinds)
    ]
    allowed = [path for path in classes if path not in _BASES]
    if given in allowed:
        return f"{key}.init_args of {given} is no mapping; give its arguments, such as {{name: value}}"
    return f"{key} is {given}, which is no class for it{did_you_mean(given, allowed)} allowed: {', '.join(allowed)}"


def _unaccepted(message: str) -> str | None:
    """The option, and before it with a dot its group, that a class or the command does not have."""
    if found := re.search(r"Group '(.+?)' does not accept option '(.+?)'", message):
        return f"{found[1]}.{found[2]}"
    found = re.search(r"(?:Option|option) '(.+?)'", message, re.S) or re.search(r"arguments: --([\w.]+)", message)
    return found[1] if found else None


def _unknown_key(key: str, option: list[str], class_path: str | None) -> str:
    """The answer for an option, such as lrr or [optimizer, lrr], of the class under a key."""
    if class_path is None:
        known = _top_keys()
        full = ".".join(filter(None, (key, *option)))
        near = did_you_mean(full, known)
        return f"unknown key {full}{did_you_mean(full.split('.')[0], known) if near == ';' else near} {_HELP}"
    group = option[0] if len(option) > 1 and _names(class_path, option[0]) else ""
    prefix = f"{key}.{group}" if group else key
    full = f"{prefix}.{option[1] if group else option[0]}"
    known = [f"{prefix}.{name}" for name in _names(class_path, group)]
    return f"unknown key {full}{did_you_mean(full, known)} allowed: {', '.join(known) or 'none'}"


def _names(class_path: str, group: str) -> list[str]:
    """The keys that a class takes, or a dataclass among its arguments."""
    module, _, name = class_path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    if not group:
        return [name for name in inspect.signature(cls).parameters if name not in ("norm", "data_spec", "seed")]
    kind = typing.get_type_hints(cls.__init__).get(group)
    kinds = [kind, *typing.get_args(kind)]
    return [field.name for found in kinds if dataclasses.is_dataclass(found) for field in dataclasses.fields(found)]


def _names_under(keys: list[str], class_path: str | None) -> list[str]:
    """The keys of the mapping that stands under the last of `keys`; none, if no mapping is due there."""
    if keys == ["trainer"]:
        return ["the arguments of Lightning's Trainer, such as {max_epochs: 3}"]
    return _names(class_path, keys[-1]) if class_path and len(keys) > 1 else []


def _top_keys() -> list[str]:
    return [*_TOP_KEYS, *(f"trainer.{name}" for name in inspect.signature(Trainer).parameters)]


def _kind(text: str) -> str:
    """`<class 'float'>` as a number, `typing.Literal['a', 'b']` as its values."""
    text = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", text)
    literal = re.match(r"typing\.Literal\[(.*)\]", text)
    return literal[1] if literal else _WORDS.get(text, text)


_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "dict": "a mapping",
    "tuple with 2 elements": "a list of two",
}
