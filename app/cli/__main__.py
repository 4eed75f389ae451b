"""The command line, as train.py, `norm-workbench` and `python -m app.cli` start it."""

import sys

from app.cli.overview import OVERVIEW


def run() -> int:
    """Run the command in sys.argv and return its exit status; `--help` alone is answered without the libraries."""
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(OVERVIEW, end="")
        return 0
    from app.cli.main import main  # takes seconds to import

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
