"""Where the time of a training step goes, by the profiler calls that Lightning makes."""

from __future__ import annotations

import re
import time

from pytorch_lightning.profilers import Profiler

PHASES = ("data", "forward", "backward", "optimizer", "callbacks", "loop")
_OF_ACTION = (
    (re.compile(r"train_dataloader_next|batch_transfer|batch_to_device"), "data"),
    (re.compile(r"^\[Strategy\].*\.training_step"), "forward"),
    (re.compile(r"^\[Strategy\].*\.backward"), "backward"),
    (re.compile(r"\.optimizer_step|gradient_clipping|zero_grad|lr_scheduler_step"), "optimizer"),
)


class PhaseProfiler(Profiler):
    """Adds up, by phase, the time of each action minus that of the actions within it.

    `loop` is the rest: Lightning's loops themselves. Hooks of modules count as part of forward and backward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._open: list[str] = []  # actions that have begun, the innermost last
        self._since = time.perf_counter()

    def start(self, action_name: str) -> None:
        """Begin an action within the one that is open."""
        self._turn()
        self._open.append(action_name)

    def stop(self, action_name: str) -> None:
        """End it; an action that began before this profiler existed is skipped."""
        self._turn()
        if self._open and self._open[-1] == action_name:
            self._open.pop()

    def shares(self) -> dict[str, float]:
        """Return the share of each phase in the time since this profiler was made; they add up to 1."""
        self._turn()
        total = sum(self.seconds.values())
        return {phase: seconds / total for phase, seconds in self.seconds.items()}

    def _turn(self) -> None:
        """Add the time since the last turn to the phase of the innermost open action."""
        now = time.perf_counter()
        self.seconds[phase_of(self._open[-1]) if self._open else "loop"] += now - self._since
        self._since = now


def phase_of(action: str) -> str:
    """Return the phase that an action of Lightning belongs to."""
    if action.startswith("[Callback]"):
        return "callbacks"
    return next((phase for pattern, phase in _OF_ACTION if pattern.search(action)), "loop")
