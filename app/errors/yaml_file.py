"""YAML files that people write: read strictly, and answered with the line where something is wrong.

PyYAML takes the last of two equal keys in silence, follows a list that holds itself for ever, and answers a date that
does not exist with a bare ValueError; here each is an error of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from app.errors import InputError

_MOST_VALUES = 100_000  # with every alias written out; a thousand times what a config has


def read_settings(path: Path, name: str, expected: str) -> dict[Any, Any]:
    """The mapping in a YAML file.

    Args:
        path: of the file, in utf-8.
        name: what errors call it.
        expected: what the file should hold, the end of an error about one that holds something else.

    Raises:
        InputError: for a file that cannot be read or is no YAML, a key that stands twice, a value that holds itself, or
            anything but a mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        raise InputError(f"{name}:{line}: byte 0x{byte:02x} is not utf-8; save the file as utf-8") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); give the path of a YAML file") from error
    content = parse_yaml(text, name)
    if not isinstance(content, dict):
        came = "is empty" if content is None else "holds no keys with values"
        raise InputError(f"{name}: {came}; {expected}")
    return content


def parse_yaml(text: str, name: str) -> Any:
    """What a YAML text says, in plain types.

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
        raise InputError(f"{place}: is no YAML ({error.problem}); correct this line, and indent by spaces") from error
    except RecursionError as error:
        raise InputError(f"{name}: is nested too deeply to be settings; write it flatter") from error
    except Exception as error:  # the constructors of dates, numbers and the like raise almost any kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: is no YAML ({reason}); put a value that is text into quotes") from error


def _count(node: yaml.Node, name: str, above: set[int], counted: dict[int, int]) -> int:
    """Values in a node, each alias counted as what it stands for; refuses what cannot be written out."""
    if id(node) in above:
        raise InputError(f"{name}:{node.start_mark.line + 1}: a value holds itself, by an alias; write it out")
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
                    raise InputError(f"{name}:{line}: {key.value} stands in line {first} already; leave one of them")
                lines[key.tag, key.value] = line
            total += _count(key, name, above, counted) + _count(value, name, above, counted)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_count(value, name, above, counted) for value in node.value)
    if total > _MOST_VALUES:
        raise InputError(f"{name}: holds over {_MOST_VALUES} values, most by aliases; write less")
    above.remove(id(node))
    counted[id(node)] = total
    return total
