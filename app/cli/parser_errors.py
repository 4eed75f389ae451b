"""The answer to a user's mistake, in a line or two: what is wrong, where, what was expected, what to do."""

from __future__ import annotations

import importlib
import inspect
import re
from argparse import ArgumentError
from collections.abc import Iterator
from itertools import groupby

from jsonargparse import ArgumentParser
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from app.cli.arguments import add_run_arguments
from app.errors import InputError
from app.errors.argparse_messages import rewrite_argparse_error
from app.errors.did_you_mean import did_you_mean
from app.errors.system_errors import describe_system_error, original_message
from app.norms import NormError

_HELP = "see python train.py fit --help"
_LINKED = {"norm", "placement", "data_spec", "seed"}  # arguments of classes that the command line fills in itself
_CLASSES = {"model": "app.tasks", "data": "app.datamodules", "trainer.callbacks": "app.callbacks"}
BASES = ("app.tasks.Task", "app.datamodules.DataModule")  # abstract


def explain(error: BaseException) -> str | None:
    """The message for the user whose mistake or machine caused an error, or None if the error is a defect of ours.

    The notes that a run added to the exception follow the message.
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
    if system_error := describe_system_error(chain[0]):
        return system_error
    for cause in chain:
        if isinstance(cause, ArgumentError):
            return " ".join(_parser_message(str(cause), chain[-1]).split())
        if isinstance(cause, MisconfigurationException):
            return f"trainer: {' '.join(str(cause).split())}; change this setting of trainer"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []  # an exception that is raised twice can be among its own causes
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _parser_message(message: str, innermost: BaseException) -> str:
    """The answer to what jsonargparse refuses: an unknown key, a wrong class, a missing or a wrong value.

    Its messages nest: the outermost has the keys and classes on the way, the innermost says what is wrong. What is
    none of the four is answered by the innermost message as it is.
    """
    reason = " ".join(str(innermost).split())
    key = ".".join(key for key, _ in groupby(re.findall(r'Parser key "([\w.]+)"', message)))
    class_path = next(iter(re.findall(r"given class_path '([\w.]+)'", message)[::-1]), "")
    if unknown := re.search(
        r"(?:Group '(?P<group>.+?)' does not accept )?[Oo]ption '(?P<option>.+?)'|unrecognized arguments: --([\w.]+)",
        reason,
    ):
        option = ".".join(filter(None, (unknown["group"], unknown["option"]))) or unknown[3]
        return _unknown_key(key, option, class_path)
    given = re.search(r"import path (?:string: )?(\S+)", reason, re.IGNORECASE)
    if key in _CLASSES and (
        given or class_path in BASES or re.match("module .* has no attribute|No module named", reason)
    ):
        return wrong_class(key, given[1] if given else class_path)
    if missing := re.search(r"the following arguments are required: (.*)", reason):
        names = [f"{key}.{name}" if key else name.rpartition(".")[2] for name in missing[1].split(", ")]
        remedy = "use a value other than null" if key else "pass --config FILE, such as configs/quickstart.yaml"
        return f"{' and '.join(names)} must be set; {remedy}"
    if value := re.search(r"^Expected .*Got value: (.*)|Unable to load config \"(.*)\"|path string: (.*)", reason):
        kinds = re.findall(r"Expected an? ((?!path|dot|<class 'NoneType'>).+?)(?:\. Got|$)", message, re.MULTILINE)
        kinds = [re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", kind) for kind in kinds]
        expected = " or ".join(dict.fromkeys(kinds)).replace("typing.Literal", "one of ") or _mapping(key, class_path)
        found = value[value.lastindex or 0]
        if "str" in kinds:  # any text would do, so this is what YAML made of it
            yaml = "YAML reads no, yes, on, off and numbers as other types"
            return f"{key}: {found} is not {expected}; {yaml}: put a text into quotes"
        return f"{key} is {found!r}; expected {expected}"
    return f"{key}: {reason}; {_HELP}" if key else rewrite_argparse_error(message, _flags(), _HELP)


def _unknown_key(prefix: str, option: str, class_path: str) -> str:
    """The answer to an option such as lrr or optimizer.lrr of the class at `prefix`, or of the command itself."""
    if not class_path:
        return f"unknown key {option}{did_you_mean(option, _run_keys())} {_HELP}"
    keys = _class_keys(class_path)
    group = option.rpartition(".")[0]
    known = [key for key in keys if group and key.startswith(f"{group}.")]
    if not known:  # the group is what is unknown
        option, known = option.partition(".")[0], list(dict.fromkeys(key.partition(".")[0] for key in keys))
    full, known = f"{prefix}.{option}", [f"{prefix}.{key}" for key in known]
    return f"unknown key {full}{did_you_mean(full, known)} allowed: {', '.join(known) or 'none'}"


def wrong_class(key: str, given: str) -> str:
    """The answer for a class that cannot be the model, the data or a callback."""
    module = importlib.import_module(_CLASSES[key])
    allowed = [
        path
        for name in module.__all__
        if inspect.isclass(item := getattr(module, name))
        and issubclass(item, (LightningModule, LightningDataModule, Callback))
        and (path := f"{module.__name__}.{name}") not in BASES
    ]
    return f"{key} cannot be {given}{did_you_mean(given, allowed)} allowed: {', '.join(allowed)}"


def _mapping(key: str, class_path: str) -> str:
    """What is expected at the key of a group: a mapping, with the names that it may have or where they are listed."""
    parent, _, group = key.rpartition(".")
    names = [name.partition(".")[2] for name in _class_keys(class_path) if name.startswith(f"{group}.")]
    return (
        f"a mapping with {', '.join(names)}"
        if names
        else f"a mapping; {_HELP.replace('--help', f'--{parent}.help {class_path}') if class_path else _HELP}"
    )


def _class_keys(class_path: str) -> list[str]:
    """The keys that a class takes, with those of the dataclasses among its arguments, such as optimizer.lr."""
    if not class_path:
        return []
    module, _, name = class_path.rpartition(".")
    parser = ArgumentParser()
    parser.add_class_arguments(getattr(importlib.import_module(module), name), skip=_LINKED, fail_untyped=False)
    return list(parser.get_defaults().keys())


def _run_keys() -> list[str]:
    """The keys of a command: Lightning's, ours and the trainer's."""
    parser = ArgumentParser()
    add_run_arguments(parser)
    parser.add_class_arguments(Trainer, "trainer")
    return ["config", "model", "data", "seed_everything", "ckpt_path", *parser.get_defaults().keys()]


def _flags() -> list[str]:
    return [f"--{key}" for key in _run_keys()]
