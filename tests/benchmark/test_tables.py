"""Tables of measurements: printed, kept as CSV files, and drawn."""

import csv
import shutil

from app.benchmark.__main__ import main
from app.benchmark.tables import Row, Spread, print_tables, spread
from tests.conftest import ROOT


def test_spread_is_median_and_quartiles():
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([2.0, 1.0]) == Spread(1.5, 1.0, 2.0)


def test_tables_are_printed_as_markdown_and_kept_as_csv(tmp_path, capsys):
    rows = [Row("a", {"x|y": f"{name}|", "time": Spread(12345.6, 0.12345, 2.0)}) for name in "pq"]
    print_tables(["a sentence\n", *rows, Row("b", {"n": 3})], tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "a sentence", "", "| x|y | time |", "|---|---|", "| p\\| | 12,346 (0.123 to 2) |",
        "| q\\| | 12,346 (0.123 to 2) |", "", "| n |", "|---|", "| 3 |",
    ]  # fmt: skip
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "x|y,time,time low,time high", "p|,12346,0.1235,2", "q|,12346,0.1235,2"
    ]  # fmt: skip
    assert (tmp_path / "b.csv").read_text() == "n\n3\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_picture_of_the_docs_is_drawn_from_its_table(tmp_path, capsys):
    table = tmp_path / "norms_eager.csv"
    shutil.copy(ROOT / "docs/speed/norms_eager.csv", table)
    assert main(["plot", str(table)]) == 0
    drawn, kept = (path.read_text() for path in (table.with_suffix(".svg"), ROOT / "docs/speed/norms_eager.svg"))
    for text in (drawn, kept):
        for row in csv.DictReader(table.read_text().splitlines()):
            assert f"<!-- {row['norm']} -->" in text and f"<!-- {row['shape']} -->" in text
    table.write_text("shape,threads\n")
    assert main(["plot", str(table)]) == 2
    assert "norms_eager.csv is not a table of `python -m app.benchmark norms" in capsys.readouterr().err
