"""What a study is: its YAML, read and checked, and its trials, each of which is a command that a user could type."""

from app.study.plan.flags import Settings
from app.study.plan.read import read_study
from app.study.plan.study import Condition, Phase, Study, Trial, Tuning, Variant

__all__ = ["Condition", "Phase", "Settings", "Study", "Trial", "Tuning", "Variant", "read_study"]
