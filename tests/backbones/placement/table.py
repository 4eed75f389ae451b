"""Which families take which placement, on tiny models with the dropout of each family's own defaults.

python -m tests.backbones.placement.table    # prints the table of docs/placement.md
"""

from app.backbones.placement import PlacementSpec, placement_names
from app.backbones.placement.parts import parts_of
from app.backbones.placement.place import checked_layouts, native_layout
from app.errors import InputError
from tests.backbones.families import OPTIONS, OTHER_OPTIONS, tiny

REASONS = {
    "times in a forward pass": "shared layers",
    "is followed by dropout outside": "dropout",
    "is not added to the stream by itself": "sum",
    "reads the stream in no module of its own": "entry",
    "norms of queries and keys": "q, k",
    "scaled initial weights": "weights",
}
PLACEMENTS = placement_names()[1:]


def row(family: str) -> list[str]:
    """Return the cells of a family: native, yes, or the reason of the refusal."""
    model = tiny(family)
    parts = parts_of(model)
    native = [[native_layout(branch, block, parts) for branch in block.branches] for block in parts.blocks]
    cells = []
    for placement in PLACEMENTS:
        try:
            layouts = checked_layouts(model, parts, PlacementSpec(placement))
            cells.append("native" if layouts == native else "yes")
        except InputError as error:
            (reason,) = [word for words, word in REASONS.items() if words in str(error)]
            cells.append(reason)
    return cells


def lines(cells: dict[str, list[str]]) -> list[str]:
    """Return the table, families with the same cells in one row."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for family, of_family in cells.items():
        groups.setdefault(tuple(of_family), []).append(f"`{family}`")
    head = ["| model type |" + "".join(f" `{name}` |" for name in PLACEMENTS), "|---" * (len(PLACEMENTS) + 1) + "|"]
    return head + [f"| {', '.join(families)} | {' | '.join(of_group)} |" for of_group, families in groups.items()]


if __name__ == "__main__":
    print("\n".join(lines({family: row(family) for family in [*OPTIONS, *OTHER_OPTIONS]})))
