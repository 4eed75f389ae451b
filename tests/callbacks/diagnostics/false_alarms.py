"""How often a run whose validation loss is flat is said to overfit, by simulated losses of its examples.

    python -m tests.callbacks.diagnostics.false_alarms

The loss of an example at a validation is what it always costs, noise of its own, which may be correlated over the
validations, and noise that all examples share, as the steps of the optimizer make it. The train loss falls.
"""

from __future__ import annotations

import numpy as np

from app.callbacks.diagnostics.overfitting_statistics import onset, rise_since

VALIDATIONS = (5, 10, 20, 30)
SERIES = {  # noise of variance 1, and its correlation from one validation to the next
    "white": ("normal", 0.0),
    "AR(0.7)": ("normal", 0.7),
    "AR(0.9)": ("normal", 0.9),
    "t with 3 degrees of freedom": ("t3", 0.0),
    "skewed": ("skewed", 0.0),
}


def noise(rng: np.random.Generator, kind: str, correlation: float, shape: tuple[int, int, int]) -> np.ndarray:
    """Noise of (runs, validations, examples), correlated along the second dimension."""
    draws = {
        "normal": lambda: rng.normal(size=shape),
        "t3": lambda: rng.standard_t(3, size=shape) / 3**0.5,
        "skewed": lambda: 1 - rng.exponential(size=shape),
    }[kind]()
    for now in range(1, shape[1]):
        draws[:, now] = correlation * draws[:, now - 1] + (1 - correlation**2) ** 0.5 * draws[:, now]
    return draws


def flat_runs(series: str, runs: int, validations: int, examples: int, shared: float = 0.0) -> tuple:
    """The nats of runs, (runs, validations, examples), and the loss units of the examples.

    Args:
        series: one of `SERIES`.
        runs: number of runs.
        validations: of each run.
        examples: of the validation split.
        shared: standard deviation of the noise that examples share, in standard errors of a difference of two losses.
    """
    rng, units = np.random.default_rng(validations), np.random.default_rng(0).integers(5, 20, examples)
    own = noise(rng, *SERIES[series], (runs, validations, examples))
    se = (2 * np.square(units).sum()) ** 0.5 / units.sum()
    common = shared * se * noise(rng, *SERIES[series], (runs, validations, 1))
    return (2 + rng.normal(size=(runs, 1, examples)) + own + common) * units, units


def is_said_to_overfit(nats: np.ndarray, units: np.ndarray) -> bool:
    """Whether the log line is ever said of a run; nats are (validations, examples)."""
    events, best = [], 0
    losses = nats.sum(1) / units.sum()
    for number, loss in enumerate(losses):
        best = number if loss < losses[best] else best
        rise = rise_since(nats[best], nats[number], units)
        events.append({"step": number, "epoch": number, "val/loss": loss, "train_probe/loss": -number, **rise})
        if onset(events):
            return True
    return False


def main(runs: int = 1000, examples: int = 300) -> None:
    """Print a table of rates in per cent."""
    print(f"| noise | shared, in standard errors | {' | '.join(f'{n} validations' for n in VALIDATIONS)} |")
    print("|---" * (2 + len(VALIDATIONS)) + "|")
    for series in SERIES:
        for shared in (0, 0.5, 1, 3):
            rates = []
            for validations in VALIDATIONS:
                nats, units = flat_runs(series, runs, validations, examples, shared)
                rates.append(100 * np.mean([is_said_to_overfit(run, units) for run in nats]))
            print(f"| {series} | {shared:g} | {' | '.join(f'{rate:.1f} %' for rate in rates)} |", flush=True)


if __name__ == "__main__":
    main()
