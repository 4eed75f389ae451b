"""The command line, as train.py, `norm-workbench` and `python -m app.cli` start it."""

import sys

from app.cli.overview import OVERVIEW
from app.errors.stop_signals import until_stopped


def run() -> int:
    """Run the command in sys.argv and return its exit status; `--help` alone is answered without the libraries."""
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(OVERVIEW, end="")
        return 0

    def command() -> int:
        from app.cli.main import main  # takes seconds to import

        return main(sys.argv[1:])

    return until_stopped(command, "before it began; start the same command again")


if __name__ == "__main__":
    sys.exit(run())
