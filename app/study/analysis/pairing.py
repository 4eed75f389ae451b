"""Which runs may be compared: those with the same seed that share all but what the study varies between them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

_FINGERPRINTS = {
    "data_fingerprint": "data",
    "plan_fingerprint": "batches",
    "weights_fingerprint": "initial weights outside the norms",
}


def difference_of(ours: dict[str, Any], theirs: dict[str, Any], varied: Collection[str]) -> str:
    """What two runs with the same seed do not share, in words; "" where they are paired.

    Settings are compared where both runs recorded them, which those of earlier versions did not.

    Args:
        ours: result.json of a run.
        theirs: result.json of the other.
        varied: settings that the study itself varies between the two, by the names of their flags.
    """
    unlike = [words for key, words in _FINGERPRINTS.items() if ours[key] != theirs[key]]
    settings, others = ours.get("training"), theirs.get("training")
    if settings is not None and others is not None:
        allowed = tuple(_short(key) for key in varied)
        unlike += sorted(
            key
            for key in settings.keys() | others.keys()
            if settings.get(key) != others.get(key) and not f"{key}.".startswith(tuple(f"{own}." for own in allowed))
        )
    return ", ".join(unlike)


def _short(flag: str) -> str:
    """The name of a flag without the `init_args` that it may be written with."""
    return flag.replace(".init_args", "")
