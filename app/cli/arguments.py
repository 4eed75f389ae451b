"""The arguments that every command of train.py takes besides model, data and trainer."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import Literal

from jsonargparse import ArgumentParser

from app.backbones import placement_names
from app.cli.norm import DEFAULT
from app.errors import DEBUG
from app.norms import NATIVE, norm_names


def own_seed(seed: int, own: int | None) -> int:
    """The seed of a source of randomness: its own one, or that of --seed_everything."""
    return seed if own is None else own


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add them to a parser, with their defaults and help."""
    parser.add_argument(
        "--norm",
        type=str | dict | list,
        default=DEFAULT,
        help="the normalization, also by --norm.name, --norm.options.KEY VALUE, --norm.sites (all, a role such as "
        "final, or a list of roles and regular expressions), --norm.by_role.ROLE.KEY VALUE, --norm.weight_decay, "
        "--norm.lr_multiplier, --norm.freeze (gain, bias) and --norm.embedding_scale; or a list of rules, each a "
        f"mapping of these, of which the first that matches counts; names: native, {', '.join(norm_names())}",
    )
    parser.add_argument(
        "--placement",
        type=str | dict,
        default=NATIVE,
        help="where the norms stand, also by --placement.name and --placement.options.KEY VALUE; native leaves them "
        f"where the model has them; names: {', '.join(placement_names())}",
    )
    for of, what in (
        ("init", "the initial weights"),
        ("order", "the order of training examples"),
        ("dropout", "dropout, and all else that is drawn in training"),
    ):
        parser.add_argument(
            f"--{of}_seed", type=int | None, default=None, help=f"seed of {what}; null for that of --seed_everything"
        )
    parser.add_argument("--run_root", type=str, default="runs", help="folder in which run folders are created")
    parser.add_argument("--test_after_fit", type=bool, default=True, help="test the best checkpoint at the end of fit")
    parser.add_argument("--output", type=str, default="-", help="file that predict writes; - is standard output")
    parser.add_argument(
        "--output_format",
        type=Literal["jsonl", "tsv", "plain"] | None,
        default=None,
        help="what predict writes: jsonl, one object per record with everything known; tsv, the same in columns with a "
        "header; plain, one bare answer per line (CoNLL-U for a parser); null for the task's own format",
    )
    parser.add_argument(
        "--patience",
        type=int | None,
        default=None,
        help="end fit after N validations without a better primary metric; null trains to the end",
    )
    parser.add_argument(
        "--checkpoint_every_steps", type=int | None, default=None, help="also write last.ckpt every N updates"
    )
    parser.add_argument(
        "--checkpoint_every_minutes",
        type=float | None,
        default=None,
        help="also write last.ckpt every N minutes",
    )
    parser.add_argument(
        "--norm_diagnostics_every_n_steps",
        type=int | None,
        default=50,
        help="measure what each norm does to gradients, and where gains and biases go, at the first update and then "
        "every N updates; null for never",
    )
    parser.add_argument("--plots", type=bool, default=True, help="draw the plots (*.svg) when fit ends")
    parser.add_argument(
        "--twin_axes",
        type=bool,
        default=False,
        help="draw train and validation on two axes in curves.svg, as the paper does; as each has a scale of its own, "
        "the distance of the curves is not the gap",
    )
    parser.add_argument(
        "--compile",
        type=bool,
        default=False,
        help="train with the backbone compiled by torch.compile; on CPUs this needs a C++ compiler",
    )
    parser.add_argument(
        "--average_checkpoints",
        type=int | None,
        default=None,
        help="validate, test and predict with the mean of the weights of the last N validations, which fit then keeps; "
        "--ckpt_path takes precedence",
    )
    parser.add_argument(
        "--allow_world_size_change",
        type=bool,
        default=False,
        help="resume from a checkpoint that another number of processes wrote",
    )
    parser.add_argument(  # for --help alone: it is taken from the command line before this parser sees it
        DEBUG, action="store_true", default=SUPPRESS, help="show the traceback of an error, not only its message"
    )
