"""test_examples.parquet: what the test of a run counted of each example, in the order of the test split.

The columns are `index` (the position in the split; in language modelling the number of the window in the order of the
text), `nats` (the loss, summed over the example), `units` (its loss units), and what the primary metric is computed
from: `correct`; `uas`, `las` and `words`; `sys_len`, `ref_len`, `correct_1` to `_4` and `total_1` to `_4`, null where a
sentence was not translated. Their sums give the scores in result.json.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.metrics import ExampleCounts
from app.runs.atomic_write import atomic_write
from app.runs.result import read_result

FILE_NAME = "test_examples.parquet"


def write_test_examples(folder: Path, examples: ExampleCounts) -> None:
    """Write the file, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    import pyarrow as pa  # here, because only the end of a test needs it
    import pyarrow.parquet as pq

    table = pa.table({name: pa.array(column) for name, column in examples.items()})
    with atomic_write(folder / FILE_NAME) as part:
        pq.write_table(table, part, compression="zstd")


def read_test_examples(folder: Path) -> ExampleCounts | None:
    """What `write_test_examples` wrote, with nan where a count is null; None for a run without the file.

    Raises:
        InputError: for a file that is not a table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / FILE_NAME
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read ({' '.join(str(error).split())}); test the run again without this file"
        ) from error
    return {name: table[name].to_numpy() for name in table.column_names}


def add_missing_test_examples(folder: Path, scores: dict[str, Any], examples: ExampleCounts) -> None:
    """Write the file for a run that lacks it, such as one of an earlier version, when it is tested again.

    Only if the scores are those that the run recorded: another checkpoint or test set is not what result.json is about.
    """
    with suppress(InputError):  # a result of another version, a folder that is read-only
        recorded = read_result(folder)
        if recorded and recorded["test"] == scores and examples and not (folder / FILE_NAME).exists():
            write_test_examples(folder, examples)
