"""A small study that runs."""

import pytest
import yaml

from tests.conftest import ROOT
from tests.exactness.cases import CASES

CASE = CASES["classification"]


@pytest.fixture
def study(tmp_path, tiny_texts):
    """Writes a study of two norms on one seed; what is given changes it."""

    def write(**changes):
        settings = dict(argument.removeprefix("--").split("=", 1) for argument in CASE.arguments(tiny_texts))
        settings |= {"data.cache_dir": str(tmp_path / "cache"), "trainer.max_epochs": 4, "checkpoint_every_steps": 1}
        content = {
            "configs": [str(ROOT / CASE.config)], "norms": ["layernorm", "detachnorm"], "seeds": [1],
            "overrides": settings, **changes,
        }  # fmt: skip
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "study.yaml"

    return write
