"""Save and load models with their norms, so that nothing loads them as something else.

A model with its own norms in their own places is saved as Hugging Face saves it. One with injected or placed norms is
saved so that stock transformers refuses it instead of silently building a LayerNorm:

- `model_type` in config.json is unknown to the Auto classes, and says what to use instead;
- the weights are in `norm_model.safetensors`, so a concrete class (`BertModel.from_pretrained`), which only warns of a
  wrong `model_type`, finds no weights and stops.

config.json has the real `base_model_type`, the spec as `norm`, and as `norm_sites` each norm of the model: path, name,
options, shape, eps, and axis in a channels-first map; `embedding_scales` has start values by block. Where it is not
native, `placement` is there, and `placement_parts` has the parts of the blocks in which it was put. Loading follows
these, so a model that was injected twice or changed by hand is restored.
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from app.backbones.embedding_scale import scale_inits, set_embedding_scales
from app.backbones.inject import registered_norm, swap_modules
from app.backbones.options import refused_by_transformers
from app.backbones.placement import PlacementSpec, place_norms, placed_parts, placement_of
from app.backbones.sites import name_paths
from app.errors import InputError
from app.norms import Norm, NormError, build_norm

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS_FILE = "norm_model.safetensors"
_MODELING = "transformers.models."
_NORMS_OF = {"norm": "injected", "placement": "placed"}  # keys of config.json


def save_model(model: PreTrainedModel, folder: str | Path) -> Path:
    """Save weights (safetensors), config and generation config; `load_model` loads the same model.

    The folder is written whole or not at all. Call it on one process only.

    Args:
        model: a Hugging Face or custom model, with or without injected norms, on any device.
        folder: a new or empty folder; its parents are created.

    Returns:
        The folder.

    Raises:
        InputError: if the folder is not empty, or a norm of the model is not registered.
    """
    sites, scales = injected_sites(model), scale_inits(model)
    with new_folder(Path(folder)) as partial:
        if sites or scales or not placement_of(model).is_native:
            _write_with_norms(model, sites, scales, partial)
        else:
            with without_progress_bars():
                model.save_pretrained(partial)
            _edit_config(partial, lambda config: _mark_own(model, config))
    return Path(folder)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into, which is renamed at the end, or removed if something fails.

    Args:
        folder: a new or empty folder; its parents are created.

    Raises:
        InputError: if the folder is not empty.
    """
    check_is_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        yield partial
        for path in partial.iterdir():  # safetensors lets the owner alone read what it writes
            path.chmod(partial.stat().st_mode & 0o666)
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial)
        raise


def check_is_new(folder: Path) -> None:
    """Raise InputError if there is a file of this name, or a folder that is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; use a new folder for the model, or remove this one")


def load_model(folder: str | Path) -> PreTrainedModel:
    """Load what `save_model` or Hugging Face's `save_pretrained` wrote: the same class, norms and weights, bit for bit.

    The model is in eval mode, on the CPU, in the dtypes it was saved in. The random state does not change.

    Raises:
        InputError: if the folder has no model, names an unknown class or norm, or its weights do not fit its model; the
            message names the parameters.
    """
    folder = Path(folder)
    config = read_config(folder)
    with torch.random.fork_rng(devices=[]):
        model = _load_with_norms(folder, config) if saved_with_norms(folder, config) else _load_plain(folder, config)
    return model.eval()


def injected_sites(model: nn.Module) -> list[dict[str, Any]]:
    """Describe each norm of the registry in the model, in plain types: path, name, options, shape, eps and other axis.

    Raises:
        InputError: if one of them is not registered.
    """
    sites = []
    for path, module in model.named_modules():
        if isinstance(module, Norm):
            name, options = registered_norm(module)
            shape = list(module.normalized_shape)
            site = {"path": path, "name": name, "options": options, "shape": shape, "eps": module.eps}
            sites.append(site if module.axis == -1 else {**site, "axis": module.axis})
    return sites


def restore_norms(model: nn.Module, sites: list[dict[str, Any]], scales: dict[str, float], source: str) -> None:
    """Rebuild each norm that `injected_sites` described, and put it at its path; do the same with embedding scales.

    Raises:
        InputError: if the model has no such path, or the registry no such norm.
    """
    new_by_old: dict[nn.Module, Norm] = {}
    for site in sites:
        try:
            old = model.get_submodule(site["path"])
            new = build_norm(site["name"], site["shape"], site["eps"], **site["options"])
            new.axis = site.get("axis", -1)
        except (AttributeError, KeyError, TypeError, NormError) as error:
            raise InputError(f"{source}, norm_sites, {site}: {error}") from error
        new_by_old[old] = new
    swap_modules(model, new_by_old)
    try:
        set_embedding_scales(model, scales)
    except (AttributeError, TypeError) as error:
        raise InputError(f"{source}, embedding_scales, {scales}: {error}") from error


def saved_with_norms(folder: Path, config: dict[str, Any]) -> bool:
    """Return whether `save_model` wrote the folder's config.json for a model with injected or placed norms.

    Raises:
        InputError: if Hugging Face's save_pretrained wrote it for one, without the norms' paths.
    """
    lost = [what for key, what in _NORMS_OF.items() if isinstance(config.get(key), dict)]
    if "norm_sites" not in config and lost:
        raise InputError(
            f"{folder} was written by save_pretrained, which does not keep {lost[0]} norms; "
            "save the model again with app.backbones.save_model"
        )
    return "norm_sites" in config


def read_config(folder: Path) -> dict[str, Any]:
    """Read the folder's config.json.

    Raises:
        InputError: if there is none, or it is not a JSON object.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"), object_hook=_decode_float)
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no config.json; use the folder of a saved model") from error
    except ValueError as error:
        raise InputError(f"{folder / 'config.json'} is not JSON ({error}); save the model again") from error
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.json'} is not a JSON object; save the model again")
    return config


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from showing a progress bar for local files."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _write_with_norms(
    model: PreTrainedModel, sites: list[dict[str, Any]], scales: dict[str, float], folder: Path
) -> None:
    from safetensors.torch import save_file

    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = str(model.dtype).removeprefix("torch.")
    config.save_pretrained(folder)
    placement, parts = placement_of(model), placed_parts(model)

    def mark(written: dict[str, Any]) -> None:
        if parts is None:
            _drop_spec(written, "placement")
        else:
            written["placement"], written["placement_parts"] = placement.to_dict(), parts
        names = ", ".join(
            [
                *sorted({site["name"] for site in sites}),
                *(["embedding_scale"] if scales else []),
                *([] if parts is None else ["placement"]),
            ]
        )
        written["base_model_type"] = written["model_type"]
        written["model_type"] = f"{written['model_type']} with {names}: load it with app.backbones.load_model"
        written["norm_sites"] = sites
        if scales:
            written["embedding_scales"] = scales
        _name_class(model, written)

    _edit_config(folder, mark)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    names: dict[int, str] = {}  # by identity: tied weights are written once
    slots = model.state_dict(keep_vars=True)
    for name, slot in slots.items():
        names.setdefault(id(slot), name)
    tensors = {name: slots[name].detach().contiguous() for name in names.values()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def _mark_own(model: PreTrainedModel, written: dict[str, Any]) -> None:
    """Edit the config.json of a model with its own norms."""
    for key in _NORMS_OF:
        _drop_spec(written, key)
    _name_class(model, written)


def _drop_spec(written: dict[str, Any], key: str) -> None:
    """Remove a spec that is not of this model: its norms were replaced since, or its config is another one's."""
    if isinstance(written.get(key), dict):
        del written[key]


def _name_class(model: PreTrainedModel, written: dict[str, Any]) -> None:
    """Add the module of a class that transformers does not export, such as the text tower of a larger model."""
    import transformers

    cls = type(model)
    if cls.__module__.startswith(_MODELING) and getattr(transformers, cls.__name__, None) is not cls:
        written["architecture_module"] = cls.__module__.removeprefix(_MODELING)


def _decode_float(value: dict[str, Any]) -> Any:
    """Return the number for transformers' spelling of an infinite float or of NaN, and anything else as it is."""
    return float(value["__float__"]) if value.keys() == {"__float__"} else value


def _edit_config(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    edit(config)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _load_with_norms(folder: Path, config: dict[str, Any]) -> PreTrainedModel:
    from transformers import GenerationConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    sites, scales = config.pop("norm_sites"), config.pop("embedding_scales", {})
    placement, parts = _placement(folder, config.pop("placement", None)), config.pop("placement_parts", None)
    config["model_type"] = config.pop("base_model_type", config.get("model_type"))
    cls = _model_class(folder, config)
    config.pop("architecture_module", None)
    if config["model_type"] not in CONFIG_MAPPING:
        raise InputError(f"{folder}: model_type {config['model_type']!r} is unknown to this version of transformers")
    with refused_by_transformers(f"{folder}/config.json", {}):
        model = cls(CONFIG_MAPPING[config["model_type"]].from_dict(config))
    place_norms(model, placement, initialize=False, found=parts)  # None in a folder of an early version
    restore_norms(model, sites, scales, f"{folder}/config.json")
    _load_weights(model, folder)
    for norm in model.modules():
        if isinstance(norm, Norm) and "weight" in dict(norm.named_buffers()):  # what models read: not saved
            norm.weight = norm.weight.to(model.dtype)
    if (folder / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def _placement(folder: Path, written: Any) -> PlacementSpec:
    try:
        return PlacementSpec() if written is None else PlacementSpec.parse(written)
    except NormError as error:
        raise InputError(f"{folder}/config.json: {error}") from error


def _load_plain(folder: Path, config: dict[str, Any]) -> PreTrainedModel:
    cls = _model_class(folder, config)
    with refused_by_transformers(str(folder), {}), without_progress_bars():
        loaded: Any = cls.from_pretrained(folder, dtype="auto", use_safetensors=True, output_loading_info=True)
    model, report = loaded
    if report["missing_keys"]:
        raise InputError(f"{folder} lacks weights of {cls.__name__}: {name_paths(sorted(report['missing_keys']))}")
    for slot in model.state_dict(keep_vars=True).values():
        slot.data = (
            slot.data.clone()
        )  # a view of the mapped file may be aligned in another way, which changes last bits
    vars(model.config).pop("architecture_module", None)
    return model


def _model_class(folder: Path, config: dict[str, Any]) -> type[PreTrainedModel]:
    """Return the class named in config.json, of transformers or of ours."""
    import transformers

    from app.backbones.custom_models import CUSTOM_MODELS

    names = config.get("architectures") or ["nothing"]
    cls = CUSTOM_MODELS.get(names[0]) or getattr(transformers, names[0], None)
    if (module := config.get("architecture_module")) is not None:
        cls = _unexported_class(module, names[0])
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise InputError(f"{folder}/config.json names {names[0]!r} under architectures, which is not a model class")
    return cls


def _unexported_class(module: Any, name: str) -> Any:
    """Return what has this name in a module of transformers.models, or None; nothing else is imported."""
    if not re.fullmatch(r"\w+\.modeling_\w+", str(module)):
        return None
    try:
        return getattr(importlib.import_module(_MODELING + module), name, None)
    except ModuleNotFoundError:
        return None


def _load_weights(model: nn.Module, folder: Path) -> None:
    """Set every parameter and buffer of the state dict, in the file's dtypes; tied ones through any of their names.

    Raises:
        InputError: if there is no readable file, or names or shapes differ between file and model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    if not path.exists():
        raise InputError(f"{folder} has no {WEIGHTS_FILE}; copy or save the model again")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}); copy or save the model again") from error
    slots = model.state_dict(keep_vars=True)
    filled = {id(slots[name]) for name in tensors if name in slots}
    missing = [name for name, slot in slots.items() if id(slot) not in filled]
    unexpected = [name for name in tensors if name not in slots]
    misshapen = [name for name in tensors if name in slots and tensors[name].shape != slots[name].shape]
    for fault, names in (("lacks", missing), ("has unexpected", unexpected), ("has another shape of", misshapen)):
        if names:
            raise InputError(f"{path} does not fit {type(model).__name__}: it {fault} {name_paths(names)}")
    for name, tensor in tensors.items():
        slots[name].data = tensor.clone()  # a copy, because the tensor is a view of the mapped file
