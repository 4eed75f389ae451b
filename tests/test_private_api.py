"""What the project uses of other libraries beyond what they promise: an upgrade that takes it away fails here first.

Each line of the tables has its reason. A name with an underscore that app/ takes from another library, or overrides,
and that is missing here fails the first test, and so does a line that nothing needs any more.
"""

import argparse
import ast
import collections
import importlib
import inspect
import os
from operator import attrgetter
from pathlib import Path

import pytest
import pytorch_lightning
import tensorboard.summary.writer.event_file_writer as event_file_writer
import torch
import torch.utils.data.dataloader
import torchmetrics
import transformers
from jsonargparse import ArgumentParser
from pytorch_lightning.cli import LightningCLI
from transformers import initialization
from transformers.models.auto import configuration_auto

from tests.conftest import ROOT


def trainer():
    return pytorch_lightning.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", barebones=True)


# an attribute, a function that gives what has it, and what we use it for
NAMES = [
    # Python
    ("_replace", lambda: collections.namedtuple("Pair", "a b"), "another value in a named tuple; documented"),
    ("_exit", lambda: os, "ends the process between fork server and trial, which cleans nothing up; documented"),
    ("_fields", lambda: collections.namedtuple("Pair", "a b"), "tells named tuples, which are built from arguments"),
    # torch
    ("_modules", torch.nn.Module, "a norm that two modules share is replaced in both: named_children gives it once"),
    ("nn.modules.batchnorm._NormBase", lambda: torch, "batch norms of every kind, which are sites of their own"),
    ("_version", lambda: torch.zeros(1), "tells whether an operation in place has overwritten a norm's input"),
    ("_dynamo.config.skip_nnmodule_hook_guards", lambda: torch, "compiled code must see hooks that come and go"),
    ("_dynamo.reset", lambda: torch, "each norm of the benchmark is compiled anew"),
    ("_inductor.config.fallback_random", lambda: torch, "compiled dropout draws the masks that eager dropout draws"),
    ("_destroy", lambda: torch.library.Library, "gives torch its own kernel for dropout masks back"),
    ("ops.aten.bernoulli_.float", lambda: torch, "the kernel for dropout masks that is put in place of torch's"),
    ("ops.aten.native_layer_norm.default", lambda: torch, "the kernels behind our autograd functions"),
    ("ops.aten.native_layer_norm_backward.default", lambda: torch, "the same, backward"),
    ("ops.aten.native_batch_norm.default", lambda: torch, "statistics of rows for norms without a kernel of their own"),
    ("ops.aten.native_batch_norm_backward.default", lambda: torch, "the same, backward"),
    ("activation_relu_or_gelu", lambda: torch.nn.TransformerEncoderLayer(4, 1), "0 keeps its fused inference away"),
    # Lightning
    ("_parse_ckpt_path", lambda: LightningCLI, "overridden: a checkpoint must not override the command line"),
    ("_set_seed", lambda: LightningCLI, "overridden: a command line that is only parsed seeds nothing"),
    ("_run_subcommand", lambda: LightningCLI, "overridden: a command line that is only parsed runs nothing"),
    ("_get", lambda: LightningCLI, "the trainer's parsed arguments, to which ours are added"),
    ("_parser", lambda: LightningCLI, "dumps config.yaml by the parser of the command that runs"),
    ("_trainer", pytorch_lightning.LightningModule, "whether a task has a trainer: `trainer` raises without one"),
    ("should_stop", trainer, "ends a run after this batch; `fit_loop` reads it"),
    ("val_check_batch", trainer, "set at the last batch, so that it is validated whatever the schedule is"),
    ("fit_loop._can_stop_early", trainer, "whether min_epochs and min_steps let a fit end that is told to stop"),
    ("fit_loop.epoch_loop.val_loop", trainer, "validates where a callback ends a fit after its epoch"),
    ("fit_loop.total_batch_idx", trainer, "whether a batch completes an update when batches are accumulated"),
    ("fit_loop.epoch_loop.batch_progress.total.completed", trainer, "batches so far, for the progress lines"),
    ("fit_loop.epoch_loop.batch_progress.current.ready", trainer, "where a resumed run is in its epoch"),
    ("precision_plugin.forward_context", trainer, "a forward pass outside the loop computes in the run's precision"),
    ("precision_plugin.convert_module", trainer, "weights get their dtype before a checkpoint is loaded into them"),
    ("strategy.reduce_boolean_decision", trainer, "all processes stop, or diverge, together"),
    # torchmetrics
    ("_apply", lambda: torchmetrics.Metric, "overridden: sums follow the model to a device, and not to a dtype"),
    ("_ddp_kwargs", pytorch_lightning.strategies.DDPStrategy, "whether DDP waits for parameters without a gradient"),
    # transformers
    ("_init_weights", lambda: transformers.PreTrainedModel, "overridden: how the weights of our models begin"),
    ("_is_hf_initialized", lambda: inspect.getsource(initialization), "keeps init_weights off our norms"),
    ("_model_mapping", lambda: transformers.AutoModel, "whether an Auto class has a model for a config"),
    ("_attn_implementation", transformers.BertConfig, "where attn_implementation is set on a config that was read"),
    ("CONFIG_MAPPING", lambda: configuration_auto, "the model types that there are, for `did you mean`"),
    # the rest
    ("_actions", lambda: ArgumentParser(), "the flags that there are, for `did you mean`"),
    ("_AsyncWriterThread", lambda: event_file_writer, "the thread in which TensorBoard fails when a disk is full"),
]  # fmt: skip
MESSAGES = [
    ("Pin memory thread exited unexpectedly", torch.utils.data.dataloader, "a loader process died, seen before a GPU"),
    ("DataLoader worker (pid(s) {pids_str}) exited unexpectedly", torch.utils.data.dataloader, "the same, on a CPU"),
    ("_set_SIGCHLD_handler()", torch.utils.data.dataloader, "the handler of SIGCHLD that PlanLoader takes away"),
    ("invalid choice: %(value)r (choose from %(choices)s)", argparse, "a wrong command"),
    ("the following arguments are required: %s", argparse, "a missing flag"),
    ("unrecognized arguments: %s", argparse, "an unknown flag"),
    ("ignored explicit argument %r", argparse, "a value for a flag that has none"),
]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def trees() -> dict[str, ast.Module]:
    """The modules of app/, by name."""
    paths = sorted((ROOT / "app").rglob("*.py"))
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths)
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in zip(names, paths, strict=True)}


def own_names(tree: ast.Module) -> set[str]:
    """What a module defines: functions, classes, variables, fields and attributes of self."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return names


def is_self(node: ast.expr) -> bool:
    return ast.unparse(node) in ("self", "cls", "super()")


def foreign_names(tree: ast.Module, own: set[str]) -> set[str]:
    """Private names that a module imports, or takes from what is not itself, and that app/ does not define."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not is_self(node.value) and node.attr not in own:
            names.append(node.attr)
        elif isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module.split(".")[0] != "app"):
            module = getattr(node, "module", "")
            names += [part for alias in node.names for part in f"{module}.{alias.name}".split(".")]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            texts = [text.value for text in ast.walk(node) if isinstance(text, ast.Constant)]
            names += [text for text in texts if isinstance(text, str)]
    return {name for name in names if is_private(name)}


def inherited_names(cls: type, tree: ast.ClassDef, own: set[str]) -> set[str]:
    """Private names that a class has from a class of another library, or overrides."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_self(node.value)}
    names |= own_names(ast.Module(tree.body, []))
    others = [base for base in cls.__mro__ if not base.__module__.startswith("app.")]
    return {
        name
        for name in filter(is_private, names)
        if any(name in vars(base) for base in others) or not (name in own or hasattr(cls, name))
    }


def test_every_private_name_of_another_library_is_listed():
    modules = trees()
    own = set().union(*map(own_names, modules.values()))
    found = set().union(*(foreign_names(tree, own) for tree in modules.values()))
    for name, tree in modules.items():
        if name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found |= inherited_names(getattr(module, node.name), node, own)
    listed = {part for name, *_ in NAMES for part in name.split(".") if is_private(part)}
    assert found == listed - {"_AsyncWriterThread"}  # which is compared with the name of a thread's class


@pytest.mark.parametrize(("name", "holder", "reason"), NAMES, ids=[name for name, *_ in NAMES])
@pytest.mark.filterwarnings("ignore")  # a Trainer of its own says what it does without
def test_a_name_is_there(name, holder, reason):
    held = holder()
    if isinstance(held, str):  # source that looks the name up on whatever it is given
        assert name in held, reason
    else:
        attrgetter(name)(held)  # the table says what it is for


@pytest.mark.parametrize(("text", "module", "reason"), MESSAGES, ids=[text for text, *_ in MESSAGES])
def test_a_message_is_worded_as_we_recognise_it(text, module, reason):
    assert text in Path(module.__file__).read_text(encoding="utf-8"), reason


def test_a_private_name_that_is_not_listed_is_found():
    source = (
        "import numpy._core\nfrom torch import _C\nclass Ours:\n  def __init__(self): self._mine = other._theirs\n"
        "  def f(self): return self._mine, x._mine, getattr(x, '_text')"
    )
    tree = ast.parse(source)
    assert foreign_names(tree, own_names(tree)) == {"_core", "_C", "_theirs", "_text"}
    assert inherited_names(argparse.ArgumentParser, ast.parse("class A:\n  def _get_kwargs(self): ...").body[0], set())
