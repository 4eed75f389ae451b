"""Tuned settings: which values are tried, which are chosen, and what the trials say of the choice."""

from app.study.tuning.choice import Choice, choose
from app.study.tuning.result import Tuned, TuningResult, tuning_results

__all__ = ["Choice", "Tuned", "TuningResult", "choose", "tuning_results"]
