"""Strict reading of YAML files that users write: an error names the line.

PyYAML takes the last of two equal keys silently, follows a list that contains itself forever, and answers a date that
does not exist with a bare ValueError; here each is an error of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from app.errors import InputError

_MOST_VALUES = 100_000  # with every alias expanded; a thousand times what a config has


def read_settings(path: Path, name: str, expected: str) -> dict[Any, Any]:
    """The mapping in a YAML file.

    Args:
        path: of the file, in UTF-8.
        name: what errors call it.
        expected: what the file should contain, the end of the error about one that contains something else.

    Raises:
        InputError: for a file that cannot be read or is not valid YAML, a duplicate key, a value that contains itself,
            or anything but a mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        raise InputError(f"{name}:{line}: byte 0x{byte:02x} is not utf-8; save the file as utf-8") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); pass the path of a YAML file") from error
    content = parse_yaml(text, name)
    if not isinstance(content, dict):
        found = "is empty" if content is None else "is not a mapping"
        raise InputError(f"{name}: {found}; {expected}")
    return content


def parse_yaml(text: str, name: str) -> Any:
    """The content of a YAML text, in plain types.

    Args:
        text: of a file, or of a flag.
        name: what errors call it.

    Raises:
        InputError: as `read_settings` does, but for any kind of value.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _count(node, name, above=set(), counted={})
        return yaml.safe_load(text)
    except InputError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        raise InputError(
            f"{place}: is not valid YAML ({error.problem}); correct this line, and indent with spaces"
        ) from error
    except RecursionError as error:
        raise InputError(f"{name}: is nested too deeply; flatten it") from error
    except Exception as error:  # the constructors of dates, numbers and the like raise almost any kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: is not valid YAML ({reason}); put a value that is text into quotes") from error


def _count(node: yaml.Node, name: str, above: set[int], counted: dict[int, int]) -> int:
    """Count the values in a node, those of an alias each time that it is used; refuse what cannot be expanded."""
    if id(node) in above:
        raise InputError(f"{name}:{node.start_mark.line + 1}: a value contains itself, by an alias; write it out")
    if id(node) in counted:
        return counted[id(node)]
    above.add(id(node))
    total = 1
    if isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if first := lines.get((key.tag, key.value)):
                    raise InputError(f"{name}:{line}: duplicate key {key.value}, first in line {first}; remove one")
                lines[key.tag, key.value] = line
            total += _count(key, name, above, counted) + _count(value, name, above, counted)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_count(value, name, above, counted) for value in node.value)
    if total > _MOST_VALUES:
        raise InputError(f"{name}: has over {_MOST_VALUES} values, most by aliases; write fewer")
    above.remove(id(node))
    counted[id(node)] = total
    return total
