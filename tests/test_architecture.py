"""Who may import whom: the rooms of app/ and the one direction in which data flows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "app").rglob("*.py"))
# by folder; of two that fit a file, the deeper one
MAY_IMPORT = {
    "norms": set(),
    "metrics": {"languages"},
    "languages": set(),
    "batches": set(),
    "errors": set(),
    "progress": set(),
    "installation": set(),
    "runs": {"backbones/placement", "errors", "installation", "norms", "metrics"},
    "figures": {"runs", "metrics"},
    "backbones": {"norms", "errors", "progress"},
    "backbones/placement": {"norms", "errors", "backbones"},
    "datamodules": {"batches", "errors", "languages", "progress", "runs"},
    "datamodules/io": {"errors", "progress", "runs"},
    "datamodules/batching": {"batches", "errors"},
    "datamodules/tokenizers": {"errors", "progress", "datamodules/io"},
    "tasks": {"batches", "backbones", "languages", "metrics", "norms", "errors"},
    "tasks/parsing": {"batches", "errors", "tasks"},
    "tasks/generation": {"batches", "errors"},
    "callbacks": {"norms", "metrics", "errors", "progress", "runs", "figures"},
    "callbacks/diagnostics": {"norms", "metrics", "runs", "figures", "callbacks"},
    "study": {"backbones/placement", "errors", "installation", "norms", "metrics", "figures", "runs"},
    # the parser of the command line says whether it would refuse a trial
    "study/claims": {"backbones/placement", "errors", "installation", "metrics", "norms"},
    "study/plan": {"backbones/placement", "cli", "errors", "installation", "norms", "metrics", "study/claims"},
    "benchmark": {"callbacks", "errors", "figures", "installation", "norms", "runs"},
}
COMMAND_LINE = {"cli", "export"}  # may import everything


def room(path: str) -> str:
    """The deepest folder of MAY_IMPORT that a file or module of app/ is in, or its first folder."""
    parts = path.split("/")
    known = ["/".join(parts[:depth]) for depth in (2, 1)]
    return next((folder for folder in known if folder in MAY_IMPORT), parts[0])


def imported(path: Path) -> set[str]:
    """Modules of app/ that a file imports, as paths."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [node.module or ""] if node.module != "app" else [f"app.{alias.name}" for alias in node.names]
    return {name.removeprefix("app.").replace(".", "/") for name in names if name.startswith("app.")}


def allows(here: str, there: str) -> bool:
    """Whether a file of one room may import from another."""
    if here == there or here.split("/")[0] == there:
        return here == there or there in MAY_IMPORT[here]
    allowed = MAY_IMPORT[here]
    return there in allowed or there.split("/")[0] in allowed | {here}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_lies_upstream(path):
    here = room(path.relative_to(ROOT / "app").with_suffix("").as_posix())
    if here in COMMAND_LINE | {"__init__"}:
        return
    assert here in MAY_IMPORT, f"{path}: a new room; say in MAY_IMPORT what it may import"
    rooms = {room(name) for name in imported(path)}
    assert not [there for there in rooms if not allows(here, there)], f"{here} may not import from there"


def test_what_needs_no_command_line_reads_an_exported_parser():
    rooms = {room(name) for name in imported(ROOT / "app" / "export" / "parser.py")}
    assert not rooms & {"cli", "callbacks", "runs"}


def test_the_entry_is_short_and_nobody_imports_it():
    assert len((ROOT / "train.py").read_text().splitlines()) < 50
    assert not [path for path in FILES if "import train" in path.read_text()]


def test_no_file_is_a_drawer():
    assert not [path for path in FILES if path.stem in ("utils", "helpers", "misc", "common")]
