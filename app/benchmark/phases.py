"""Where the time of a training step goes, by Lightning's own marks around what it calls."""

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
    """Adds up the time that each action takes less the actions within it, by phase.

    `loop` is what is left: the work of Lightning's loops themselves. What hooks of modules do within forward and
    backward counts as these.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._open: list[str] = []  # actions that have begun, the innermost last
        self._since = time.perf_counter()

    def start(self, action_name: str) -> None:
        """An action begins, within the one that is open."""
        self._turn()
        self._open.append(action_name)

    def stop(self, action_name: str) -> None:
        """It ends. One that was begun before this profiler was there is left out."""
        self._turn()
        if self._open and self._open[-1] == action_name:
            self._open.pop()

    def shares(self) -> dict[str, float]:
        """The share of each phase in the time since this profiler was made; they add up to 1."""
        self._turn()
        total = sum(self.seconds.values())
        return {phase: seconds / total for phase, seconds in self.seconds.items()}

    def _turn(self) -> None:
        """Give the time since the last turn to the phase of the innermost open action."""
        now = time.perf_counter()
        self.seconds[phase_of(self._open[-1]) if self._open else "loop"] += now - self._since
        self._since = now


def phase_of(action: str) -> str:
    """The phase that an action of Lightning's belongs to."""
    if action.startswith("[Callback]"):
        return "callbacks"
    return next((phase for pattern, phase in _OF_ACTION if pattern.search(action)), "loop")
