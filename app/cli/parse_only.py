"""Has train.py's own parser read command lines of fit that are not run now, such as those of a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pytorch_lightning.cli import LightningArgumentParser

from app.cli.checks import check_values
from app.cli.main import CLI
from app.cli.norm import fold_norm
from app.cli.parser_errors import explain
from app.cli.renamed import with_new_flags
from app.errors import InputError
from app.installation import BASE_CONFIG


class _ParsedCLI(CLI):
    """The command line, parsed and checked, of which nothing is seeded, built or run.

    What depends on the machine, such as the number of its GPUs, is not checked: the run may be on another one.
    """

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)
        check_values(self.config.subcommand, self.config[self.config.subcommand])

    def _set_seed(self) -> None: ...

    def instantiate_classes(self) -> None: ...

    def after_instantiate_classes(self) -> None: ...

    def _run_subcommand(self, subcommand: str) -> None: ...


def check_commands(commands: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Refuse a command line of fit that train.py would refuse.

    Args:
        commands: the name of each for messages, and its arguments, which begin with fit.

    Raises:
        InputError: for the first that the parser refuses, with its answer.
    """
    cli: _ParsedCLI | None = None
    for name, arguments in commands:
        try:
            folded = fold_norm(with_new_flags(arguments), [BASE_CONFIG])
            if cli is None:
                cli = _ParsedCLI(folded)  # building the parser takes longer than parsing
            else:
                cli.parse_arguments(cli.parser, folded)
        except Exception as error:
            message = explain(error)
            if message is None:
                raise
            raise InputError(f"{name}: {message}") from error
