"""Train, test and apply a model with a norm of your choice: `python train.py fit --config ...`."""

import sys

from app.cli.overview import OVERVIEW

if __name__ == "__main__":
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(OVERVIEW, end="")
        sys.exit()
    from app.cli.main import main  # takes seconds to import

    sys.exit(main(sys.argv[1:]))
