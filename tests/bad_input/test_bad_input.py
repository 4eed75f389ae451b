"""Every case of the table, run as a user would run it: its answer, exit status 2, and nothing left behind.

A case has the command (`run`), the files in the folder that it is started in (`files`: name -> text, what makes bytes,
or null for a folder) and the answer, in one of two ways:

    says   what the answer must contain, so that its wording stays free: `place`, where the mistake is (a file and
           its line, a flag, a key); `value`, what was found there; `remedy`, what is expected or what to do. Each is
           text, whole words (case and plural aside), and is looked for in what the ones before it leave of the answer.
    line   the whole answer, for the cases that show how answers should read; {any} is any text.

In both, {here} is the folder that the command is started in, {norms} and {placements} the names of all of these and
{data} the tiny data of the task. Sentences of other libraries are in neither: they change with a version.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.backbones import placement_names
from app.benchmark.__main__ import main as benchmark
from app.cli.main import main
from app.norms import norm_names
from app.study.__main__ import main as study
from tests.bad_input.contents import content
from tests.conftest import ROOT, mostly_slow

FOLDER = Path(__file__).parent
CASES: dict[str, dict[str, Any]] = {
    f"{path.stem}: {case['case']}": case
    for path in sorted(FOLDER.glob("*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
}
DAILY = 4  # cases of each file that are not slow
OTHERS = {"study": study, "benchmark": benchmark}
TASKS = {  # config, tiny data, what makes the config fit it
    "text": ("configs/quickstart.yaml", "tiny_texts", []),
    "images": ("configs/classification/mnist.yaml", "tiny_images", []),
    "pairs": ("configs/translation/gettext_en_de.yaml", "tiny_pairs", ["--data.tokenizer.vocab_size=300"]),
    "bytes": ("configs/language_modeling/tiny.yaml", "tiny_bytes", []),
    "trees": (
        "configs/parsing/turkish.yaml",
        "tiny_trees",
        ["--data.tokenizer.vocab_size=300", "--data.score_without=[punct]"],
    ),
}
TINY = "{hidden_size: 8, num_attention_heads: 2, intermediate_size: 8, num_hidden_layers: 1}"


def settings_of(task: str, sources: dict[str, Path], cache: Path) -> list[str]:
    config, source, more = TASKS[task]
    return ["--config", str(ROOT / config), f"--data.source={sources[source]}", *more, f"--data.cache_dir={cache}"]


def daily_cases() -> list[str]:
    """The first cases of each file."""
    by_file: dict[str, list[str]] = {}
    for name in CASES:
        by_file.setdefault(name.partition(":")[0], []).append(name)
    return [name for names in by_file.values() for name in names[:DAILY]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run may keep: no output of the command itself."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(sources, cache, tmp_path_factory):
    """Give the config of a run that has been trained, once for each task that is asked for."""
    runs: dict[str, str] = {}

    def config_of(task: str) -> str:
        if task not in runs:
            root = tmp_path_factory.mktemp(task)
            tiny = [
                "--trainer.max_epochs=1",
                "--test_after_fit=false",
                "--plots=false",
                f"--model.backbone.options={TINY}",
            ]
            assert main(["fit", *settings_of(task, sources, cache), *tiny, f"--run_root={root}"]) == 0
            (runs[task],) = (str(path) for path in root.rglob("config.yaml"))
        return runs[task]

    return config_of


@pytest.mark.parametrize("name", mostly_slow(CASES, *daily_cases()))
def test_bad_input_gets_its_line_and_leaves_nothing(name, sources, cache, trained, tmp_path, monkeypatch, capsys):
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    for path, wanted in case.get("files", {}).items():
        write(tmp_path / path, wanted)
    command, *arguments = shlex.split(case["run"]) or [""]
    task = arguments[0] if arguments else ""
    if task in TASKS:
        arguments = [*settings_of(task, sources, cache), *arguments[1:]]
    elif task.endswith("-run"):
        arguments = ["--config", trained(task.removesuffix("-run")), *arguments[1:]]
        capsys.readouterr()
    before = everything_in(tmp_path)

    status = OTHERS[command](arguments) if command in OTHERS else main([command, *arguments] if command else [])

    error = capsys.readouterr().err
    said = error if command != "predict" else error[error.find("error: ") :]  # after what it has read
    assert status == 2 and "Traceback" not in error
    assert 1 <= len(said.splitlines()) <= 2, error
    places = {"here": str(tmp_path), "norms": ", ".join(norm_names()), "placements": ", ".join(placement_names())}
    places |= {"data": str(sources[TASKS[task][1]])} if task in TASKS else {}
    assert said.startswith("error: ")
    check_answer(said.removeprefix("error: ").strip(), case, places)
    assert everything_in(tmp_path) == before


def write(path: Path, wanted: Any) -> None:
    if wanted is None:
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(wanted))


def everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def check_answer(answer: str, case: dict[str, Any], places: dict[str, str]) -> None:
    """Compare an answer with what its case wants of it."""
    if "line" in case:
        assert re.fullmatch(pattern_of(case["line"].strip(), places), answer), answer
        return
    rest = answer
    for kind, text in case["says"].items():
        before = r"(?<![\w-])" if text[0].isdigit() else r"(?<!\w)" if text[0].isalpha() else ""
        after = r"(?!\w|\.\d)" if text[-1].isdigit() else r"(?:e?s)?(?!\w)" if text[-1].isalpha() else ""
        found = re.search(before + pattern_of(text, places) + after, rest, re.IGNORECASE)
        assert found, f"no {kind} {text!r} in: {answer}"
        rest = f"{rest[: found.start()]} ... {rest[found.end() :]}"


def pattern_of(text: str, places: dict[str, str]) -> str:
    """The text as a regular expression."""
    pattern = re.escape(text)
    for name, place in places.items():
        pattern = pattern.replace(re.escape(f"{{{name}}}"), re.escape(place))
    return pattern.replace(re.escape("{any}"), ".*")


def test_the_table_is_whole():
    commands = {shlex.split(case["run"] or "none")[0] for case in CASES.values()}
    assert {"fit", "validate", "test", "predict", "study", "benchmark"} <= commands
    assert set(TASKS) <= {word for case in CASES.values() for word in case["run"].split()[1:2]}
    endings = {Path(name).suffix for case in CASES.values() for name in case.get("files", {})}
    assert {".csv", ".tsv", ".jsonl", ".parquet", ".gz", ".bz2", ".zip", ".mo", ".po", ".conllu", ".yaml"} <= endings
    assert len(CASES) >= 90


def test_every_case_checks_place_value_and_remedy():
    exact = {name: case["line"] for name, case in CASES.items() if "line" in case}
    loose = {name: case["says"] for name, case in CASES.items() if "line" not in case}
    assert len(exact) <= 40, "wording should be free, but for the cases that show how answers should read"
    assert not [name for name, line in exact.items() if not re.search("; |allowed|did you mean", line)], "no remedy"
    assert not [name for name, says in loose.items() if not {"place", "remedy"} <= set(says)]
    assert all(set(says) <= {"place", "value", "remedy"} for says in loose.values())
    assert all(isinstance(text, str) and text for says in loose.values() for text in says.values())
    without_value = [name for name, says in loose.items() if "value" not in says]
    assert len(without_value) <= 20, "a value that was found is in the answer, so it should be in the case"


def test_an_answer_without_its_value_or_with_another_one_fails():
    case = {"says": {"place": "data.workers", "value": "1", "remedy": "0"}}
    check_answer("data.workers must be >= 0, got 1", case, {})
    for answer in ("data.workers must be >= 0", "data.workers is 10; must be >= 0", "data.workers is 1; must be > 0.5"):
        with pytest.raises(AssertionError, match="no (value|remedy)"):
            check_answer(answer, case, {})
