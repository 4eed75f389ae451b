"""Replace the norms of a built model, with a record of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from app.backbones.context import norm_contexts
from app.backbones.embedding_scale import chosen_scales, set_embedding_scales
from app.backbones.placement import placement_of
from app.backbones.rules import assign_rules, wish_for_context, wish_for_roles
from app.backbones.sites import Kind, NormSite, left_norms, name_paths, norm_sites, offer_what_models_read
from app.errors import InputError
from app.norms import (
    NATIVE,
    Norm,
    NormContext,
    NormError,
    NormRule,
    NormSpec,
    bind_options,
    build_norm,
    norm_class,
    norm_names,
    norm_signature,
)

_PARAMETER_OF = {"gain": "weight", "bias": "bias"}
_FROZEN = "frozen_by_rule"  # attribute of a norm: its parameters that a rule has frozen, and no user


@dataclass(frozen=True)
class SiteRecord:
    """The record of one norm of a model, a row of norm_sites.csv.

    Attributes:
        path: module path in the model.
        old_class: class of the old norm.
        kind: what the old norm computes.
        new_norm: signature of the new norm, such as `adanorm(k=0.1,scale=1)`; native where the model's own is kept.
        shape: trailing dimensions normalized over.
        eps: that of the old norm.
        copied: parameters whose values were copied.
        dropped: parameters of the old norm that the new one does not have.
        note: what else a reader should know; may be empty.
        context: where it stands in the model.
        rule: what the spec says of it; None where no rule matches.
    """

    path: str
    old_class: str
    kind: Kind
    new_norm: str
    shape: tuple[int, ...]
    eps: float
    copied: tuple[str, ...]
    dropped: tuple[str, ...]
    note: str
    context: NormContext
    rule: NormRule | None

    @property
    def is_replaced(self) -> bool:
        """Whether the model has another norm there than its own."""
        return self.new_norm != NATIVE


def inject_norms(
    model: nn.Module, norm: NormSpec | str, sites: str | Iterable[str] = "all", **options: Any
) -> list[SiteRecord]:
    """Replace the norms of `model` in place; see `app.backbones.sites` for what counts as one.

    Shape, eps, dtype, device, train or eval mode and requires_grad are those of the old norm; gain and bias are copied
    where the new norm has parameters of that name and shape. No random number is drawn, no class is changed, and an
    instance that is shared by several paths is replaced by one instance. An injected model can be injected again; its
    embedding scale is then that of the new spec, or none, and what the earlier spec froze trains again. A spec that
    changes anything is written to `model.config.norm`, if the model has a config; `save_model` keeps the norms, and
    Hugging Face's `save_pretrained` does not.

    Args:
        model: any module; roles, and options that depend on them, need a Hugging Face one.
        norm: a registered name, or a complete spec.
        sites: all, a role such as final, or a list of roles and regular expressions that are searched in module paths;
            each must match a norm.
        options: the norm's own options, such as k and scale of adanorm.

    Returns:
        One record for each norm replaced, in the order of `model.named_modules()`.

    Raises:
        InputError: for an unknown norm, option or site word, a model without norms, a rule or pattern that matches
            none, options by a role that none has, or what needs roles that cannot be found, in the whole model or of
            one norm. The model is then unchanged.
        TypeError: if a spec is passed together with sites or options.
    """
    if isinstance(norm, NormSpec):
        if options or sites != "all":
            raise TypeError("a NormSpec has sites and options; set them there")
        spec = norm
    else:
        try:
            spec = NormSpec((NormRule(norm, options, sites),))
        except NormError as error:
            raise InputError(str(error)) from error
    return [record for record in apply_norms(model, spec) if record.is_replaced]


def apply_norms(model: nn.Module, spec: NormSpec) -> list[SiteRecord]:
    """Do what `inject_norms` does, and return a record of every norm of the model, replaced or kept.

    Raises:
        InputError: as `inject_norms` does.
    """
    found = norm_sites(model)
    if not found and placement_of(model).name != "rezero":  # which may leave a model without any
        left = [f"{norm.class_name} {norm.reason}" for norm in left_norms(model)]
        seen = f" (of those that it has, {'; '.join(dict.fromkeys(left))})" if left else ""
        raise InputError(f"{type(model).__name__} has no norm to replace by {spec.name}{seen}; use another model")
    contexts = norm_contexts(model, found)
    if contexts.fault is not None and (wish := wish_for_roles(spec)) is not None:
        raise InputError(
            f"{wish} needs one forward pass, which {type(model).__name__} refused ({contexts.fault}); use regular "
            f"expressions and numbers instead; its norms: {name_paths(site.path for site in found)}"
        )
    roles = {site.paths: contexts.by_path[site.path].role for site in found}
    rules = assign_rules(spec, roles, type(model).__name__) if found else []
    new_by_old: dict[nn.Module, Norm] = {}
    records = []
    for site, rule in zip(found, rules, strict=True):
        context = contexts.by_path[site.path]
        if rule is None or rule.name == NATIVE:
            records.append(_kept(site, context, rule))
        else:
            if site.path in contexts.unreached and (wish := wish_for_context(rule)) is not None:
                raise InputError(
                    f"{wish} needs to know where {site.path} stands, and a forward pass of {type(model).__name__} does "
                    "not reach it; give it a rule of its own, with its path in sites and without by_role and auto"
                )
            new_by_old[site.module], record = _replacement(model, site, context, rule)
            records.append(record)
    _check_settings(spec, records, {site.path: new_by_old.get(site.module, site.module) for site in found})
    scales = chosen_scales(model, spec, contexts)
    swap_modules(model, new_by_old)  # all have been built before the first is replaced
    set_embedding_scales(model, scales)
    for record in records:
        _freeze(model.get_submodule(record.path), record.rule)
    config: Any = getattr(model, "config", None)
    is_changed = bool(scales) or any(record.is_replaced for record in records)
    if is_changed and hasattr(config, "model_type") and not isinstance(getattr(config, "norm", None), str):
        # a string is OneFormer's own option
        config.norm = spec.to_dict()
    return records


def registered_norm(module: Norm) -> tuple[str, dict[str, Any]]:
    """Return the name and options with which the registry builds such a module.

    Raises:
        InputError: if its class is not registered.
    """
    for name in norm_names():
        if norm_class(name) is type(module):
            return name, {option: getattr(module, option) for option in bind_options(name, {})}
    raise InputError(f"{type(module).__name__} is not a registered norm; register it with register_norm")


def swap_modules(model: nn.Module, new_by_old: dict[nn.Module, Norm]) -> None:
    """Replace each old module by the new one at all its paths, and switch off fused code that reads norms' weights."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children() yields a shared instance only once
            if child in new_by_old:
                new = new_by_old[child]
                new._is_hf_initialized = True  # type: ignore[assignment]  # or init_weights() would reset gain and bias
                offer_what_models_read(new, child)
                setattr(parent, name, new)
                if isinstance(parent, nn.TransformerEncoderLayer):
                    parent.activation_relu_or_gelu = 0  # its fused inference path never calls the norm modules


def _kept(site: NormSite, context: NormContext, rule: NormRule | None) -> SiteRecord:
    own = tuple(name for name, _ in site.module.named_parameters(recurse=False))
    return SiteRecord(
        *(site.path, type(site.module).__name__, site.kind, NATIVE, site.shape, site.eps, own, (), "", context, rule)
    )


def _check_settings(spec: NormSpec, records: Sequence[SiteRecord], modules: Mapping[str, nn.Module]) -> None:
    """Refuse what a rule says of parameters that none of its norms has."""
    for rule in spec.rules:
        of_rule = [modules[record.path] for record in records if record.rule is rule]
        names = {name for module in of_rule for name, _ in module.named_parameters()}
        for word in rule.freeze:
            if _PARAMETER_OF[word] not in names:
                raise InputError(f"freeze is {word}, and no norm that {rule.label} takes has a {word}; omit it")
        if rule.has_own_group and names <= {_PARAMETER_OF[word] for word in rule.freeze}:
            setting = "lr_multiplier" if rule.weight_decay is None else "weight_decay"
            value = getattr(rule, setting)
            raise InputError(
                f"{setting} is {value:g}, and no norm that {rule.label} takes has a parameter that trains; omit it"
            )


def _freeze(module: nn.Module, rule: NormRule | None) -> None:
    """Freeze what a rule says, and let what an earlier one froze train again."""
    own = dict(module.named_parameters(recurse=False))
    for name in _frozen_names(module) & own.keys():
        own[name].requires_grad_(True)
    names = [_PARAMETER_OF[word] for word in (rule.freeze if rule is not None else ())]
    frozen = frozenset(name for name in names if name in own and own[name].requires_grad)
    for name in frozen:
        own[name].requires_grad_(False)
    if frozen or _frozen_names(module):
        setattr(module, _FROZEN, frozen)


def _frozen_names(module: nn.Module) -> frozenset[str]:
    return getattr(module, _FROZEN, frozenset())


def _replacement(model: nn.Module, site: NormSite, context: NormContext, rule: NormRule) -> tuple[Norm, SiteRecord]:
    """Build the new norm of a site, and its record; the model is unchanged."""
    try:
        new = build_norm(rule.name, site.shape, site.eps, context, **rule.options_at(context.role))
    except NormError as error:
        raise InputError(str(error)) from error
    new.axis = site.axis
    old = dict(site.module.named_parameters(recurse=False))
    reference = list(site.module.parameters()) or _nearest_parameters(model, site.path)
    thawed = _frozen_names(site.module)  # by an earlier rule, which holds no longer
    if reference:
        new.to(reference[0].device, reference[0].dtype)
    new.train(site.module.training)
    same_norm = type(site.module) is type(new) and registered_norm(site.module) == registered_norm(new)
    copied = []
    for name, parameter in new.named_parameters():
        source = old.get(name)
        if source is None:
            trains = bool(thawed) or not reference or any(p.requires_grad for p in reference)
            parameter.requires_grad_(trains)
            continue
        parameter.requires_grad_(name in thawed or source.requires_grad)
        # another parameter, such as dyt's alpha, is kept only under the options that it was trained with
        if source.shape == parameter.shape and (name in ("weight", "bias") or same_norm):
            with torch.no_grad():
                parameter.copy_(source)
                if name == "weight" and site.gain_offset != new.gain_offset:
                    parameter.add_(site.gain_offset - new.gain_offset)
            copied.append(name)
    record = SiteRecord(
        path=site.path,
        old_class=type(site.module).__name__,
        kind=site.kind,
        new_norm=norm_signature(*registered_norm(new)),
        shape=site.shape,
        eps=site.eps,
        copied=tuple(copied),
        dropped=tuple(name for name in old if name not in copied),
        note=_note(site, new, old),
        context=context,
        rule=rule,
    )
    return new, record


def _nearest_parameters(model: nn.Module, path: str) -> list[nn.Parameter]:
    """Return parameters of the closest enclosing module that has any: device and dtype for a norm without any."""
    while path:
        path = path.rpartition(".")[0]
        parameters = [p for p in model.get_submodule(path).parameters() if p.is_floating_point()]
        if parameters:
            return parameters
    return []


def _note(site: NormSite, new: Norm, old: Mapping[str, nn.Parameter]) -> str:
    notes = []
    if site.kind == "rmsnorm":
        notes.append("replaces an RMSNorm, which does not subtract the mean")
    if site.gain_offset:
        notes.append(f"its gain was stored as gain - {site.gain_offset:g}")
    if site.axis != -1:
        notes.append(f"normalizes over dimension {site.axis} of its input")
    added = [name for name, _ in new.named_parameters() if name not in old]
    if added:
        notes.append(f"has a new {' and '.join(added)}")
    if site.aliases:
        notes.append(f"shared with {', '.join(site.aliases)}")
    return "; ".join(notes)
