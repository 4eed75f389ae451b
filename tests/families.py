"""Build a tiny model of every model type of transformers, and check all that is done to its norms: a row a type.

    python -m tests.families                      # all types: about an hour on two cores
    python -m tests.families --types bert,llava   # some
    python -m tests.families --markdown docs/model_types.md  # and write the page of docs

A row is `right`, `no norm` (the model has none), `refused` (in one line, with the reason), `wrong` (what), or `not
built`, where no tiny model of the type runs here. Each type is a process of its own, so that none can stop the others.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

from app.backbones import (
    eval_mode,
    inject_norms,
    left_norms,
    load_model,
    norm_contexts,
    norm_sites,
    save_model,
    tensors_in,
)
from app.backbones.example_input import example_calls
from app.errors import InputError
from app.norms import Norm
from tests.tiny_models import tiny_model

NEW_NORMS = ("layernorm", "rmsnorm", "adanorm", "none")
SAVED_NORMS = ("adanorm",)
_TOLERANCE = 2e-3  # relative to the largest value of an output; two kernels of one formula, through a few layers
_TYPE_S = 120  # of a processor, for a type
_OTHER_NORMS = (nn.GroupNorm, nn.modules.batchnorm._NormBase)  # over other axes: not meant here


@dataclass
class Row:
    """What was found for one model type.

    Attributes:
        model_type: of CONFIG_MAPPING.
        model: the class.
        seen: norms that an independent search saw: called a norm, or a call of layer_norm or rms_norm.
        found: those that `norm_sites` found.
        left: those that `left_norms` named, with the reason.
        unreached: those found that no made-up input reached.
        final: paths of `final`.
        refused: what was refused in one line.
        wrong: what went wrong.
        not_built: why there is no model, or none that runs.
    """

    model_type: str
    model: str = ""
    seen: int = 0
    found: int = 0
    left: int = 0
    unreached: int = 0
    final: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    not_built: str = ""
    elapsed_s: float = 0.0

    @property
    def status(self) -> str:
        """The first that holds."""
        states = {"not built": self.not_built, "wrong": self.wrong, "refused": self.refused, "right": self.found}
        return next((status for status, holds in states.items() if holds), "no norm")


class Calls:
    """Forward calls that together run a whole model, by the paths of the modules called."""

    def __init__(self, model: nn.Module) -> None:
        paths = {module: path for path, module in model.named_modules()}
        self._calls = [(paths[call.module], call.inputs) for call in example_calls(model)]
        self.unreached = self._unreached(model)

    def _unreached(self, model: nn.Module) -> set[str]:
        """Return the norms found that the calls do not run."""
        sites = norm_sites(model)
        waiting = {site.path for site in sites}
        handles = [
            site.module.register_forward_pre_hook(lambda norm, args, path=site.path: waiting.discard(path))
            for site in sites
        ]
        with torch.no_grad():
            self.outputs(model)
        for handle in handles:
            handle.remove()
        return waiting

    def outputs(self, model: nn.Module) -> list[Tensor]:
        """Return all outputs of floating point, in eval mode, with the same random numbers each time."""
        outputs: list[Tensor] = []
        with eval_mode(model), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for path, inputs in self._calls:
                outputs += tensors_in(model.get_submodule(path)(**inputs))
        return [output for output in outputs if output.is_floating_point()]

    def gradients(self, model: nn.Module) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return outputs and the gradients that parameters get, with a loss in which every output counts."""
        with torch.enable_grad():
            outputs = self.outputs(model)
            terms = [y.double().square().mean() for y in outputs if y.requires_grad and y.numel()]
            if terms:
                torch.stack(terms).sum().backward()
        return outputs, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def check_type(model_type: str, norms: Sequence[str] = NEW_NORMS) -> Row:
    """Build a tiny model of the type, and check it with these norms."""
    row, start = Row(model_type), time.monotonic()
    made: dict[nn.Module, Calls] = {}

    def runs_whole(model: nn.Module) -> bool:
        made[model] = Calls(model)
        return not made[model].unreached

    try:
        model = tiny_model(model_type, runs_whole)
    except Exception as error:  # of any class
        row.not_built = one_line(error)
        return row
    row.model = type(model).__name__
    check_model(model, made[model], row, norms)
    row.elapsed_s = round(time.monotonic() - start, 1)
    return row


def check_model(model: nn.Module, calls: Calls, row: Row, norms: Sequence[str]) -> None:
    """Check all that is done to the norms of a model, and write what was found into the row."""
    sites, left = norm_sites(model), left_norms(model)
    row.found, row.left = len(sites), len(left)
    row.unreached = len(calls.unreached)
    seen = norms_seen(model, calls)
    row.seen = len(seen)
    unnamed = seen - {path for site in sites for path in site.paths} - {norm.path for norm in left}
    if unnamed:
        row.wrong.append(f"seen, neither found nor named: {len(unnamed)}, {sorted(unnamed)[0]}")
    with attempt(row, "save and load its own"):
        _check_saved(model, calls)
    if not sites:
        if left or seen:
            reasons = "; ".join(dict.fromkeys(f"{norm.class_name} {norm.reason}" for norm in left))
            row.refused.append(f"no norm that can be replaced: {reasons}")
        return
    contexts = norm_contexts(model, sites)
    row.final = [path for path, context in contexts.by_path.items() if context.role == "final"]
    if contexts.fault is not None:
        row.refused.append(f"roles: {contexts.fault}")
    native = copy.deepcopy(model)
    try:
        before, had_gradient = calls.gradients(native)
    except (RuntimeError, TypeError):  # RWKV and Reformer have no backward pass in eval mode
        with torch.no_grad():
            before, had_gradient = calls.outputs(native), {}
    for norm in norms:
        with attempt(row, norm):
            injected = copy.deepcopy(model)
            inject_norms(injected, norm)
            try:
                if had_gradient:
                    outputs, gradients = calls.gradients(injected)
                else:
                    with torch.no_grad():
                        outputs, gradients = calls.outputs(injected), {}
            except RuntimeError as error:
                if norm == "none" and "overflowed" in str(error):
                    continue  # FastSpeech2 makes as many frames as it predicts, and without norms predicts 1e17
                raise
            if norm != "none":  # without norms, values may overflow
                _check_finite(before, outputs)
            _check_gradients(injected, had_gradient, gradients, finite=norm != "none")
            if norm in SAVED_NORMS:
                _check_saved(injected, calls)
    with attempt(row, "identity"):
        same = copy.deepcopy(model)
        for kind in ("layernorm", "rmsnorm"):
            if paths := [f"^{re.escape(site.path)}$" for site in sites if site.kind == kind]:
                inject_norms(same, kind, sites=paths)
        with torch.no_grad():
            _check_equal(before, calls.outputs(same), _TOLERANCE)


@contextlib.contextmanager
def attempt(row: Row, what: str) -> Iterator[None]:
    """Note a refusal or a failure of what is done within."""
    try:
        yield
    except InputError as error:
        row.refused.append(f"{what}: {one_line(error)}")
    except Exception as error:  # of any class
        row.wrong.append(f"{what}: {one_line(error)}")


def norms_seen(model: nn.Module, calls: Calls) -> set[str]:
    """Search for norms in another way than `norm_sites`: by names of classes, and by what torch function is called."""
    modules = {path: m for path, m in model.named_modules() if path and not isinstance(m, _OTHER_NORMS)}
    seen = {
        path
        for path, module in modules.items()
        if re.search(r"(?<!Group)(?<!Batch)(?<!Instance)Norm(?!al)", type(module).__name__)
        and not type(module).__module__.startswith("torch.nn.utils.")
        and not any(True for child in module.children() for _ in child.parameters())
    }
    running: list[str] = []
    originals = {name: getattr(nn.functional, name) for name in ("layer_norm", "rms_norm")}

    def watched(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*args: object, **kwargs: object) -> Tensor:
            if running:
                seen.add(running[-1])
            return function(*args, **kwargs)

        return call

    handles = []
    for path, module in modules.items():
        handles.append(module.register_forward_pre_hook(lambda m, args, path=path: running.append(path)))
        handles.append(module.register_forward_hook(lambda m, args, out: running.pop() and None))
    try:
        for name, function in originals.items():
            setattr(nn.functional, name, watched(function))
        with torch.no_grad():
            calls.outputs(model)
    finally:
        for name, function in originals.items():
            setattr(nn.functional, name, function)
        for handle in handles:
            handle.remove()
    first_path = {id(module): path for path, module in reversed(modules.items())}
    seen = {first_path[id(modules[path])] for path in seen}
    return {path for path in seen if not any(other.startswith(f"{path}.") for other in seen)}  # without wrappers


def one_line(error: BaseException) -> str:
    """Return the error's message, cut to a line of the table."""
    name = "" if isinstance(error, (InputError, AssertionError)) else f"{type(error).__name__}: "
    message = re.sub(r"\S*/families\.\w+", "FOLDER", " ".join(str(error).split()))
    return (name + message)[:240]


def _check_finite(before: list[Tensor], after: list[Tensor]) -> None:
    for old, new in zip(before, after, strict=True):  # their shapes may depend on values, such as durations
        assert new.isfinite().all() or not old.isfinite().all(), "outputs are not finite"


def _check_gradients(model: nn.Module, before: dict[str, Tensor], after: dict[str, Tensor], finite: bool) -> None:
    trained = {name.rpartition(".")[0] for name in before}
    norms = {path for path, module in model.named_modules() if isinstance(module, Norm)} & trained
    for name, _ in model.named_parameters():
        if name.rpartition(".")[0] in norms and name not in after:  # others may not be chosen by a router
            raise AssertionError(f"{name} gets no gradient")
        was_finite = name not in before or before[name].isfinite().all()
        if finite and was_finite and name in after and not after[name].isfinite().all():
            raise AssertionError(f"the gradient of {name} is not finite")


def _check_equal(expected: list[Tensor], got: list[Tensor], tolerance: float) -> None:
    assert len(expected) == len(got), "there are other outputs"
    for a, b in zip(expected, got, strict=True):
        assert a.shape == b.shape, "outputs have other shapes"
        a, b = a.detach().double(), b.detach().double()
        kept = a.isfinite()
        difference = (a[kept] - b[kept]).abs().max() if kept.any() else torch.zeros(())
        allowed = tolerance * max(1.0, float(a[kept].abs().max())) if kept.any() else 0.0
        assert difference <= allowed, f"outputs differ by {float(difference):.2g}"


def _check_saved(model: nn.Module, calls: Calls) -> None:
    with tempfile.TemporaryDirectory(prefix="families.") as folder:
        loaded = load_model(save_model(model, Path(folder) / "saved"))  # type: ignore[arg-type]
    assert type(loaded) is type(model), f"comes back as {type(loaded).__name__}"
    with torch.no_grad():
        _check_equal(calls.outputs(model), calls.outputs(loaded), 0.0)


def _in_a_process(model_type: str, write: int) -> None:
    def too_long(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, too_long)
    signal.setitimer(signal.ITIMER_PROF, _TYPE_S)
    signal.alarm(10 * _TYPE_S)  # for one that only waits
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        row = check_type(model_type)
    except BaseException as error:  # the row is written in any case
        row = Row(
            model_type,
            wrong=[f"more than {_TYPE_S} s of a processor" if isinstance(error, KeyboardInterrupt) else repr(error)],
        )
    os.write(write, json.dumps(asdict(row)).encode()[:60000])


def rows(types: list[str], processes: int) -> Iterator[Row]:
    """Check each type in a process of its own."""
    waiting, running = list(reversed(types)), dict[int, tuple[str, int]]()
    while waiting or running:
        while waiting and len(running) < processes:
            model_type = waiting.pop()
            read, write = os.pipe()
            pid = os.fork()
            if not pid:
                _in_a_process(model_type, write)
                os._exit(0)
            os.close(write)
            running[pid] = model_type, read
        pid, status = os.wait()
        model_type, read = running.pop(pid)
        with os.fdopen(read, "rb") as pipe:
            answer = pipe.read()
        yield Row(**json.loads(answer)) if answer else Row(model_type, wrong=[f"its process died ({status})"])


def markdown(found: list[Row]) -> str:
    """Write the page of docs: the counts, and a row for each model that was built."""
    counts = Counter(row.status for row in found)
    lines = [
        "# Model types",
        "",
        "What `python -m tests.families --markdown docs/model_types.md` found with transformers",
        f"{transformers.__version__}, on tiny models with random weights: norms seen by an independent search",
        "(classes that are called a norm, calls of `layer_norm` and `rms_norm`), norms found and replaced, norms",
        "named in one line as left, norms that no made-up input reached, and the norms that are `final`.",
        "",
        "In a row that is right, the model runs with layernorm, rmsnorm, adanorm and none in place of its norms;",
        "its own kind of norm leaves its outputs equal; the parameters of norms get gradients, and all gradients",
        "that were finite are (which is not asked of none); and the model comes back from `save_model` and",
        "`load_model` with equal outputs, as it is and with adanorm.",
        "",
        f"{len(found)} model types, of which {len(found) - counts['not built']} were built:",
        "",
        "| result | model types |",
        "|---|---|",
        *(f"| {status} | {counts[status]} |" for status in ("right", "no norm", "refused", "wrong", "not built")),
        "",
        "Not built are types of a package that is not installed (timm, natten, ...), parts that have no class of",
        "their own, and those for which no tiny config or made-up input was found.",
        "",
        "| `model_type` | class | seen | found | left | not run | `final` | result |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(found, key=lambda row: row.model_type):
        if row.status != "not built":
            result = "; ".join([row.status, *row.wrong, *row.refused]).replace("|", "\\|")
            final = ", ".join(f"`{path}`" for path in row.final)
            cells = (f"`{row.model_type}`", row.model, row.seen, row.found, row.left, row.unreached, final, result)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    left_out = ", ".join(f"`{row.model_type}`" for row in found if row.status == "not built")
    return "\n".join([*lines, "", f"Not built: {left_out or 'none'}.", ""])


def main(arguments: list[str]) -> int:
    """Print the rows and the counts; exit with 1 if anything is wrong."""
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m tests.families", description=__doc__.splitlines()[0])
    parser.add_argument("--types", help="model types, with commas; default: all")
    parser.add_argument("--markdown", type=Path, help="file to write the table to")
    parser.add_argument("--processes", type=int, default=2, help="types at a time")
    options = parser.parse_args(arguments)
    types = options.types.split(",") if options.types else list(CONFIG_MAPPING_NAMES)
    unknown = [model_type for model_type in types if model_type not in CONFIG_MAPPING]
    if unknown:
        parser.error(f"no model type of transformers: {', '.join(unknown)}")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: list[Row] = []
    for row in rows(types, options.processes):
        found.append(row)
        if options.markdown:  # after each row, so that a run that is stopped leaves what it has
            options.markdown.write_text(markdown(found), encoding="utf-8")
        said = row.not_built or "; ".join([*row.wrong, *row.refused])
        print(
            f"{row.status:9} {row.model_type:36} seen {row.seen:3} found {row.found:3} left {row.left:3} "
            f"not run {row.unreached:3} final {len(row.final)} {row.elapsed_s:5.1f} s  {said}",
            flush=True,
        )
    counts = Counter(row.status for row in found)
    print(f"{len(found)} types: " + ", ".join(f"{n} {status}" for status, n in counts.most_common()))
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
