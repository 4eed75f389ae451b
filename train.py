"""Train, test and apply a model with a norm of your choice: `python train.py fit --config ...`."""

import sys

from app.cli.__main__ import run

if __name__ == "__main__":
    sys.exit(run())
