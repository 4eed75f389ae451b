"""Tiny made-up inputs for any Hugging Face model, from its config and its forward's signature.

The name of an argument says what it is (token ids, images, audio, ...) and the config says its sizes. Where the layout
stays open, as of images and clips, the model is asked: the first proposal that its forward accepts is used. No random
number is drawn, and weights, buffers, modes and the random state stay as they were.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from app.backbones.one_pass import eval_mode, left_as_it_was

_LENGTH = 8  # tokens: what pools them three times keeps one
_SAMPLES = 4000  # of a waveform: a quarter of a second
_MOST_LAYOUTS = 40  # of the arguments together


Layouts: TypeAlias = list[dict[str, Tensor]]  # the alternatives for an argument, with what goes with each


class ExampleCall(NamedTuple):
    """One forward call, `module(**inputs)`, of a model or of a model in it."""

    module: nn.Module
    inputs: dict[str, Tensor]


def example_input(model: nn.Module) -> dict[str, Tensor]:
    """Return keyword arguments that the model's forward accepts, tiny and on its device: a batch of one example.

    A model of several modalities gets all of them if it accepts that, otherwise its main one.

    Raises:
        ValueError: if the forward refuses all that was tried; the message has its answer to the first try.
    """
    first_error: Exception | None = None
    with _undisturbed(model):
        for inputs in _proposals(model):
            try:
                model(**inputs)
            except Exception as error:  # of any class, because the model may be of any kind
                first_error = first_error or error
            else:
                return inputs
    raise ValueError(f"{type(model).__name__} refused a made-up input ({first_error})") from first_error


def example_calls(model: nn.Module) -> list[ExampleCall]:
    """Return calls that together run the model and every Hugging Face model in it, such as a vision tower.

    The model itself comes first, and then each model in it that has not run yet. Those that refuse are omitted.

    Raises:
        ValueError: if all refuse.
    """
    models = [m for m in model.modules() if m is model or hasattr(m, "main_input_name")]
    ran: set[nn.Module] = set()
    calls: list[ExampleCall] = []
    refusals: list[ValueError] = []
    for module in models:
        if module in ran:
            continue
        try:
            call = ExampleCall(module, example_input(module))
        except ValueError as refusal:
            refusals.append(refusal)
            continue
        handles = [m.register_forward_pre_hook(lambda m, args: ran.add(m)) for m in models]
        try:
            run_calls([call])
        finally:
            for handle in handles:
                handle.remove()
        calls.append(call)
    if not calls:
        raise refusals[0]
    return calls


def run_calls(calls: Sequence[ExampleCall]) -> None:
    """Run the calls in eval mode, without gradients and without a random number; hooks see them."""
    for module, inputs in calls:
        with _undisturbed(module):
            module(**inputs)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    with ExitStack() as stack:
        for context in (eval_mode(model), left_as_it_was(model), torch.no_grad(), warnings.catch_warnings()):
            stack.enter_context(context)
        warnings.simplefilter("ignore")
        yield


def _proposals(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Yield inputs to try: all modalities, then the main one, then each, in all layouts that the config allows."""
    parameters = inspect.signature(model.forward).parameters
    takes = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    required = {name for name in takes if parameters[name].default is inspect.Parameter.empty}
    reference = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    sizes = _Sizes(getattr(model, "config", None))
    main = getattr(model, "main_input_name", None) or "input_ids"
    mains = takes.intersection([main] if isinstance(main, str) else main)
    modalities = takes.intersection(_MODALITIES)
    tried: list[set[str]] = []
    memory = takes & {"encoder_hidden_states"}  # of decoders that stand alone
    for chosen in (modalities, mains, *({name} for name in sorted(modalities)), mains | memory, memory):
        names = required | chosen | takes.intersection(_ALWAYS)
        if names in tried:
            continue
        tried.append(names)
        layouts: list[Layouts] = [
            _ARGUMENTS[name](sizes) if name in _ARGUMENTS else _by_name(name, sizes) for name in sorted(names)
        ]
        for values in itertools.islice(itertools.product(*layouts), _MOST_LAYOUTS):
            inputs = {name: value for layout in values for name, value in layout.items() if name in takes}
            for name in required - inputs.keys():
                inputs |= _by_name(name, sizes)[0]
            yield {
                name: value.to(reference.device, reference.dtype if value.is_floating_point() else value.dtype)
                for name, value in inputs.items()
            }


class _Sizes:
    """What a config, or a config in it, says of sizes."""

    def __init__(self, config: Any) -> None:
        self._configs = [] if config is None else [config]
        for outer in self._configs:  # grows while it is read: the outermost first
            self._configs += [v for v in vars(outer).values() if hasattr(v, "model_type")]

    def get(self, *names: str, default: Any = None) -> Any:
        """Return the first of these settings that has a value."""
        for config, name in itertools.product(self._configs, names):
            value = getattr(config, name, None)
            if value is not None and value != () and value != []:
                return value
        return default

    def number(self, *names: str, default: int) -> int:
        """Return the first of these settings, or the first number of a list, as a whole number."""
        value = self.get(*names, default=default)
        while isinstance(value, (list, tuple)):
            value = value[0]
        return int(value)

    @property
    def width(self) -> int:
        """The number of hidden channels."""
        return self.number("hidden_size", "d_model", "embed_dim", "n_embd", "dim", default=8)


def _text(name: str, sizes: _Sizes) -> Layouts:
    """Make token ids of shape (B, S), and as models of audio codes take them: (B x codebooks, S), (B, S, codebooks),
    and (B, S, codebooks and text).

    None of them has a special meaning, as the place of an image has.
    """
    special: set[Any] = set()
    for config in sizes._configs:
        for key, value in vars(config).items():
            if key.endswith(("_token_id", "_token_index")):
                special.update(value if isinstance(value, (list, tuple)) else [value])
    plain = [i for i in range(min(sizes.number("vocab_size", default=1), 200)) if i not in special] or [0]
    ids = torch.tensor([[plain[i % len(plain)] for i in range(_LENGTH)]])
    codebooks = sizes.number("num_codebooks", "num_channels", "audio_channels", default=1)
    layouts = [ids, ids.repeat(codebooks, 1), *(ids[..., None].repeat(1, 1, n) for n in (codebooks, codebooks + 1))]
    return [{name: x, "attention_mask": torch.ones(x.shape[:2], dtype=torch.long)} for x in layouts]


def _images(sizes: _Sizes) -> Layouts:
    """Make (B, C, H, W); (B, frames, C, H, W); patches with their places, as Qwen-VL and SigLIP 2 take them; tiles."""
    channels = sizes.number("num_channels", "in_channels", "in_chans", default=3)
    patch = sizes.number("patch_size", default=16)
    frames = sizes.number("num_frames", "frames_per_clip", default=1)
    stated = sizes.get("image_size", "img_size", "input_size", "pretrain_image_size", default=64)
    if isinstance(stated, dict):
        stated = list(stated.values())
    height, width = stated if isinstance(stated, (list, tuple)) else (stated, stated)
    image = _waves(1, channels, height, width)
    side = 2 * sizes.number("spatial_merge_size", "merge_size", "merge_kernel_size", default=2)
    flat = _waves(side * side, channels * sizes.number("temporal_patch_size", default=1) * patch * patch)
    grid = torch.tensor([[1, side, side]])
    grids = {"grid_thw": grid, "image_grid_thw": grid, "merge_sizes": torch.tensor([side // 2])}
    patches = {
        "pixel_values": flat[None, :, : channels * patch * patch],
        "pixel_attention_mask": torch.ones(1, side * side, dtype=torch.long),
        "spatial_shapes": grid[:, 1:],
        "pixel_position_ids": torch.cartesian_prod(torch.arange(side), torch.arange(side))[None],
    }
    tiles = sizes.number("max_num_tiles", default=1)
    tiled = {
        "pixel_values": image[:, None, None].repeat(1, 1, tiles, 1, 1, 1),
        "aspect_ratio_ids": torch.ones(1, 1, dtype=torch.long),
        "aspect_ratio_mask": torch.ones(1, 1, tiles, dtype=torch.long),
    }
    clip = {"pixel_values": image[:, None].repeat(1, frames, 1, 1, 1)}
    still = {"pixel_values": image}
    return [
        *((clip, still) if frames > 1 else (still, clip)),
        {"pixel_values": flat, **grids},
        {"pixel_values": _waves(side * side, channels, patch, patch), **grids},
        patches,
        {"pixel_values": _waves(1, channels, patch, side * side * patch), "target_sizes": grid[:, 1:]},
        tiled,
        {"pixel_values": image[:, None].repeat(1, 2, 1, 1, 1)},  # two to compare
        *({"pixel_values": _waves(1, channels, size, size)} for size in (64, 224)),
    ]


def _videos(sizes: _Sizes) -> Layouts:
    return [{"pixel_values_videos": layout["pixel_values"]} for layout in _images(sizes)[:2]]


def _hidden(sizes: _Sizes) -> Layouts:
    """Make (B, S, H), and what Qwen-VL's vision towers call so: patches with their grid."""
    patches = [{**layout, "hidden_states": layout["pixel_values"]} for layout in _images(sizes) if "grid_thw" in layout]
    widths = dict.fromkeys([sizes.width, sizes.number("input_dim", default=sizes.width)])
    states: Layouts = [{"hidden_states": _waves(1, _LENGTH, width)} for width in widths]
    return patches + states if sizes.get("temporal_patch_size", "spatial_merge_size") else states + patches


def _features(sizes: _Sizes) -> Layouts:
    """Make frames of a spectrogram: (B, mel, T), (B, T, mel), (B, 1, T, mel)."""
    keys = ("feature_projection_input_dim", "num_mel_bins", "input_feat_per_channel", "input_feat_size", "input_dim",
            "n_mels", "input_size", "feature_size")  # fmt: skip
    time = 2 * sizes.number("max_source_positions", default=50)
    short = 64  # frames
    layouts: Layouts = []
    for mel in dict.fromkeys([*(sizes.number(key, default=80) for key in keys), 128]):
        for frames, shape in (
            (time, (1, mel, time)),
            (short, (1, short, mel)),
            (short, (1, mel, short)),
            (1001, (1, 1, 1001, mel)),
        ):
            mask = torch.ones(1, frames, dtype=torch.long)
            layouts.append({"input_features": _waves(*shape), "input_features_mask": mask})
    return layouts


def _waveform(sizes: _Sizes) -> Layouts:
    """Make samples of sound: (B, samples), (B, channels, samples); and a spectrogram (B, T, mel)."""
    spectrogram = (1, sizes.number("max_length", default=64), sizes.number("num_mel_bins", default=80))
    shapes = [(1, _SAMPLES), (1, sizes.number("audio_channels", default=1), _SAMPLES), spectrogram]
    return [{"input_values": _waves(*shape)} for shape in shapes]


def _series(sizes: _Sizes) -> Layouts:
    """Make a time series, with a forecast's context and future."""
    lags = max(sizes.get("lags_sequence", default=[0]))
    length = sizes.number("context_length", "prediction_length", default=8)
    ahead = sizes.number("prediction_length", default=1)
    features = sizes.number("num_time_features", default=1)
    channels = sizes.number("num_input_channels", "input_size", default=1)
    companions = {
        "past_time_features": _waves(1, length + lags, features),
        "future_time_features": _waves(1, ahead, features),
    }
    return [
        {
            "past_values": _waves(*shape),
            "past_observed_mask": torch.ones(shape),
            "future_values": _waves(1, ahead, *shape[2:]),
            **companions,
        }
        for shape in ((1, length + lags), (1, length, channels), (1, length))
    ]


def _by_name(name: str, sizes: _Sizes) -> Layouts:
    """Make an argument of which only the name tells something: ids, a mask, or hidden states."""
    if name.endswith(("_ids", "_id", "_index", "_idx", "_type", "marks", "codes", "code")):
        return [{name: torch.zeros(1, _LENGTH, dtype=torch.long)}]
    if "mask" in name or "padding" in name:
        return [{name: torch.ones(1, _LENGTH, dtype=torch.long)}]
    return [{name: _waves(1, _LENGTH, sizes.width)}, {name: _waves(1, sizes.width, _LENGTH)}]


def _sized(name: str, *keys: str, length: int = _LENGTH) -> Callable[[_Sizes], Layouts]:
    """Return a maker of (B, S, H), where the config names H."""
    return lambda sizes: [{name: _waves(1, length, sizes.number(*keys, default=1))}]


def _waves(*shape: int) -> Tensor:
    """Make smooth values between -1 and 1, other ones at each place."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float32) * 0.37).reshape(shape)


_MODALITIES: dict[str, Callable[[_Sizes], Layouts]] = {
    "input_ids": functools.partial(_text, "input_ids"),
    "pixel_values": _images,
    "pixel_values_videos": _videos,
    "input_features": _features,
    "input_values": _waveform,
    "past_values": _series,
    "flattened_patches": lambda sizes: [
        {"flattened_patches": torch.ones(1, 16, 2 + sizes.number("patch_embed_hidden_size", default=768))}
    ],
    "states": _sized("states", "state_dim"),
}
_ALWAYS: dict[str, Callable[[_Sizes], Layouts]] = {
    "decoder_input_ids": lambda sizes: [
        {"decoder_input_ids": layout["decoder_input_ids"]} for layout in _text("decoder_input_ids", sizes)
    ],
    "decoder_input_values": _sized("decoder_input_values", "num_mel_bins"),
    "bbox": lambda sizes: [
        {"bbox": torch.zeros(1, _LENGTH, 4, dtype=torch.long)},
        {"bbox": torch.zeros(1, _LENGTH, sizes.number("dim_bbox", default=8))},
    ],
    "visual_feats": _sized("visual_feats", "visual_feat_dim"),
    "visual_pos": _sized("visual_pos", "visual_pos_dim"),
    "actions": _sized("actions", "act_dim", "action_dim"),
    "rewards": _sized("rewards"),
    "returns_to_go": _sized("returns_to_go"),
    "timesteps": lambda sizes: [{"timesteps": torch.arange(_LENGTH)[None]}],
}
_COMPANIONS = (  # they come with what they describe
    "attention_mask", "input_features_mask", "grid_thw", "image_grid_thw", "merge_sizes", "pixel_attention_mask",
    "spatial_shapes", "pixel_position_ids", "aspect_ratio_ids", "aspect_ratio_mask", "target_sizes",
)  # fmt: skip
_ARGUMENTS: dict[str, Callable[[_Sizes], Layouts]] = {
    **_MODALITIES,
    **_ALWAYS,
    "hidden_states": _hidden,
    "encoder_hidden_states": _sized(
        "encoder_hidden_states", "encoder_hidden_size", "cross_hidden_size", "cross_attention_hidden_size",
        "hidden_size", "d_model", "n_embd",
    ),
    "image": lambda sizes: [{"image": layout["pixel_values"]} for layout in _images(sizes)],
    **dict.fromkeys(_COMPANIONS, lambda sizes: [{}]),
    "inputs": lambda sizes: [
        {"inputs": _waves(1, _LENGTH, sizes.number("d_model", default=8))},
        {"inputs": torch.zeros(1, _LENGTH, dtype=torch.long)},
    ],
    "inputs_embeds": lambda sizes: [
        {"inputs_embeds": _waves(1, sizes.number("input_size", default=8))},
        {"inputs_embeds": _waves(1, _LENGTH, sizes.width)},
    ],
}  # fmt: skip
