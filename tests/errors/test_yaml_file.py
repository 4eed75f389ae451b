"""YAML files that are read as they were meant. Those that are refused: tests/bad_input, tests/fuzz."""

import pytest

from app.cli.norm import fold_norm
from app.errors.yaml_file import read_settings


@pytest.mark.parametrize(
    "content",
    [
        b"a: 1\nb: [x, y]\n",
        b"\xef\xbb\xbfa: 1\r\nb: [x, y]\r\n",  # of an editor on Windows
        b"a: 1\nb: &b [x, y]\nc: *b\n",
        b"--- # the only document\n{a: 1, 'b': [x, y]}\n...\n",
    ],
)
def test_settings_are_read(content, tmp_path):
    (tmp_path / "x.yaml").write_bytes(content)
    read = read_settings(tmp_path / "x.yaml", "x.yaml", "give settings")
    assert {"a": 1, "b": ["x", "y"]}.items() <= read.items()


def test_an_alias_may_be_used_many_times(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a [1, 2, 3]\nb: [*a, *a]\nc: {d: *a, e: *a}\n")
    assert read_settings(tmp_path / "x.yaml", "x.yaml", "give settings")["c"] == {"d": [1, 2, 3], "e": [1, 2, 3]}


def test_empty_sections_of_options_mean_none(tmp_path):
    (tmp_path / "x.yaml").write_text("norm:\n  name: rmsnorm\n  options:\n")
    assert fold_norm(["fit", "--config", str(tmp_path / "x.yaml")], [])[-1].startswith("{name: rmsnorm, options: {}")
