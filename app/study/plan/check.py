"""Refuses a plan with settings that train.py would refuse, before any of its runs starts."""

from __future__ import annotations

from collections.abc import Sequence

from app.study.plan.study import Trial

_NOT_SETTINGS = ("--config", "--norm", "--placement", "--seed_everything", "--run_root", "--ckpt_path")


def check_settings(trials: Sequence[Trial]) -> None:
    """Have train.py's parser read as many of the commands as have all settings between them, each in its config.

    Args:
        trials: of a study.

    Raises:
        InputError: for an unknown key or a value of the wrong type, with the trial and the parser's answer.
    """
    seen: set[tuple[str, ...]] = set()
    chosen = []
    for trial in trials:
        pairs = zip(trial.arguments[::2], trial.arguments[1::2], strict=True)
        settings = {
            (*trial.condition.files, flag, value) for flag, value in pairs if flag.split(".")[0] not in _NOT_SETTINGS
        }
        if settings - seen:
            seen |= settings
            chosen.append((trial.name, ["fit", *trial.arguments]))
    if chosen:
        from app.cli.parse_only import check_commands  # takes seconds to import

        check_commands(chosen)
