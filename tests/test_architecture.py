"""Who may import whom: the rooms of app/ and the one direction in which data flows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "app").rglob("*.py"))
MAY_IMPORT = {
    "errors": set(),
    "flags": {"errors"},
    "settings_file": {"errors"},
    "norms": set(),
    "metrics": set(),
    "batches": set(),
    "backbones": {"norms", "errors"},
    "datamodules": {"batches", "errors", "whole_file"},
    "tasks": {"batches", "backbones", "metrics", "norms", "errors"},
    "whole_file": {"errors"},
    "figures": {"whole_file"},
    "callbacks": {"norms", "errors", "run_folder", "figures", "whole_file", "machine_faults"},
    "study": {"errors", "flags", "norms", "figures", "run_folder", "settings_file", "whole_file"},
    "benchmark": {"callbacks", "errors", "flags", "norms"},
    "checkpoint_file": {"errors"},
    "run_folder": {"norms", "errors", "checkpoint_file", "whole_file"},
    "averaging": set(),
    "cli_overview": set(),
    "cli_arguments": {"norms", "cli_norm", "errors"},
    "cli_norm": {"norms", "errors", "settings_file"},
    "machine_faults": {"whole_file"},
    "cli_errors": {"flags", "norms", "errors", "machine_faults"},
    "cli_output": {"errors", "whole_file"},
    "cli_checks": {"errors"},
    "cli_callbacks": {"callbacks", "datamodules", "tasks"},
    "cli_predict": {"callbacks", "cli_output", "datamodules", "errors", "run_folder", "tasks"},
}
COMMAND_LINE = {"cli", "export"}  # may import everything


def room(path: Path) -> str:
    part = path.relative_to(ROOT / "app").parts[0]
    return part.removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [node.module or ""] if node.module != "app" else [f"app.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("app.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_lies_upstream(path):
    here = room(path)
    if here in COMMAND_LINE | {"__init__"}:
        return
    assert here in MAY_IMPORT, f"{path}: a new room; say in MAY_IMPORT what it may import"
    assert imported_rooms(path) - {here} <= MAY_IMPORT[here]


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "tests").rglob("*.py"))], ids=lambda p: str(p.name))
def test_files_stay_readable_in_one_go(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    assert path.name != "utils.py"


def test_what_needs_no_command_line_reads_an_exported_parser():
    assert not imported_rooms(ROOT / "app" / "export" / "parser.py") & {"cli", "callbacks", "run_folder"}


def test_the_entry_is_short_and_nobody_imports_it():
    assert len((ROOT / "train.py").read_text().splitlines()) < 50
    assert not [path for path in FILES if "import train" in path.read_text()]


def test_rooms_are_flat():
    assert all(len(path.relative_to(ROOT / "app").parts) <= 2 for path in FILES)
