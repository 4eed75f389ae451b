"""The text of `train.py --help`, apart from the parsers, whose libraries take seconds to import."""

OVERVIEW = """\
usage: train.py COMMAND --config FILE [--config FILE ...] [--KEY VALUE ...]

Train, test and apply a model with a norm of your choice: change the norm, hold the rest, watch the gap.

commands:
  fit        train, keep the best checkpoint, and test it; its run folder is under runs/
  validate   evaluate a run on its validation set
  test       evaluate a run on its test set
  predict    apply a run to new data: --data.predict_source FILE, or - for standard input

A config names a task, its data and its settings, such as configs/quickstart.yaml; a run is named by its own,
RUN/config.yaml. Later files, and flags after them, replace single settings:

  python train.py fit --config configs/quickstart.yaml --norm layernorm --seed_everything 2
  python train.py fit --config configs/quickstart.yaml --norm layernorm --seed_everything 2 --ckpt_path last
  python train.py test --config RUN/config.yaml
  python train.py predict --config RUN/config.yaml --data.predict_source new.txt --output answers.jsonl

  train.py COMMAND --help                 every flag, its default, and the names of norms
  train.py COMMAND --model.help CLASS     the settings of a task, such as app.tasks.Classification
  train.py COMMAND --data.help CLASS      those of a kind of data, such as app.datamodules.TextClassificationData
"""
