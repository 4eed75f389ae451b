"""What every command of train.py takes beside model, data and trainer."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import Literal

from jsonargparse import ArgumentParser

from app.cli.norm import DEFAULT
from app.errors import DEBUG
from app.norms import norm_names


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add them, with their defaults and help."""
    parser.add_argument(
        "--norm",
        type=str | dict,
        default=DEFAULT,
        help="the normalization, also by --norm.name, --norm.options.KEY VALUE and --norm.sites (all, final, or "
        f"a list of regular expressions); names: {', '.join(norm_names())}",
    )
    parser.add_argument("--run_root", type=str, default="runs", help="folder under which run folders are made")
    parser.add_argument("--test_after_fit", type=bool, default=True, help="end fit by testing the best checkpoint")
    parser.add_argument("--output", type=str, default="-", help="file that predict writes; - is standard output")
    parser.add_argument(
        "--output_format",
        type=Literal["jsonl", "tsv", "plain"] | None,
        default=None,
        help="what predict writes: jsonl, an object a record with all that is known; tsv, the same in columns under a "
        "header; plain, the bare answer a line (a parser's is CoNLL-U); null for the task's own form",
    )
    parser.add_argument(
        "--patience",
        type=int | None,
        default=None,
        help="end fit after so many validations without a better primary metric; null trains to the end",
    )
    parser.add_argument(
        "--checkpoint_every_steps", type=int | None, default=None, help="also write last.ckpt every so many updates"
    )
    parser.add_argument(
        "--checkpoint_every_minutes",
        type=float | None,
        default=None,
        help="also write last.ckpt every so many minutes",
    )
    parser.add_argument(
        "--norm_diagnostics_every_n_steps",
        type=int | None,
        default=50,
        help="measure what each norm does to gradients, and where gains and biases go, at the first update and each "
        "so many; null for never",
    )
    parser.add_argument("--plots", type=bool, default=True, help="draw curves and norms when fit ends")
    parser.add_argument(
        "--compile",
        type=bool,
        default=False,
        help="train with the backbone as torch.compile makes it; on CPUs this takes a C++ compiler",
    )
    parser.add_argument(
        "--average_checkpoints",
        type=int | None,
        default=None,
        help="validate, test and predict with the mean of the weights of the last so many validations, which fit then "
        "keeps, unless --ckpt_path is given",
    )
    parser.add_argument(
        "--allow_world_size_change",
        type=bool,
        default=False,
        help="go on from a checkpoint that another number of processes wrote",
    )
    parser.add_argument(  # for --help alone: it is taken from the command line before this parser sees it
        DEBUG, action="store_true", default=SUPPRESS, help="show the traceback behind an error's one-line answer"
    )
