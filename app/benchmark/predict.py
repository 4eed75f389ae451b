"""How fast a trained run predicts: words per second, without start and end."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.benchmark.tables import Row, spread
from app.errors import InputError
from app.installation import TRAIN
from app.runs.result import read_result

_FEW = 3  # lines, whose prediction takes as long as start and end


def time_predict(run: Path, source: Path, arguments: Sequence[str], repeats: int) -> Iterator[Row]:
    """Time predict on a file, in words per second without its start and end.

    Args:
        run: folder of a finished run.
        source: a text file with one record per line; empty lines are skipped.
        arguments: further arguments of train.py predict.
        repeats: pairs of calls, on the whole file and on its first lines.

    Raises:
        InputError: for a folder that is not of a finished run, a text that is too short, or what predict refuses.
    """
    result = read_result(run)
    if result is None:
        raise InputError(f"{run} is not a finished run's folder (no result.json); use a run folder written by fit")
    try:
        lines = [line for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--input {source}: cannot be read as text; use a text file with one record per line"
        ) from error
    if len(lines) <= 2 * _FEW:
        raise InputError(f"--input {source} has {len(lines)} lines; must have more than {2 * _FEW}")
    words = sum(len(line.split()) for line in lines[_FEW:])
    rates, around = [], []
    for _ in range(repeats):
        whole, few = (_seconds(run, part, arguments) for part in (lines, lines[:_FEW]))
        if whole <= few:
            raise InputError(f"--input {source} takes no longer than the start of predict; use a longer text")
        rates.append(words / (whole - few))
        around.append(few)
    cells = {
        "run": result["signature"],
        "words/s": spread(rates),
        "words": words,
        "start and end s": spread(around).median,
    }
    yield Row("predict", cells | {"runs": repeats})


def _seconds(run: Path, lines: Sequence[str], arguments: Sequence[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "input.txt", Path(folder) / "output"
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [*TRAIN, "predict", "--config", str(run / "config.yaml"), *arguments]
        command += [f"--data.predict_source={source}", f"--output={output}"]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise InputError(f"predict: {said[-1].removeprefix('error: ') if said else done.returncode}")
    return seconds
