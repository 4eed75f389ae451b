"""Registry manners: what a person types wrongly, or a programmer registers wrongly, is answered with the remedy."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import app.norms
from app.norms import Norm, NormError, bind_options, build_norm, norm_class, norm_names, register_norm, registry


class Halved(Norm):
    """A norm of somebody else's."""

    def __init__(
        self,
        normalized_shape: int,
        eps: float = 1e-5,
        *,
        factor: float = 0.5,
        count: int = 2,
        on: bool = False,
        mode: str = "mean",
    ) -> None:
        super().__init__(normalized_shape, eps)
        if count == 13:
            raise ValueError("count must not be 13")
        self.factor, self.count, self.on, self.mode = factor, count, on, mode

    def normalize(self, x: Tensor) -> Tensor:
        return x * self.factor


@pytest.fixture
def halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    register_norm("halved")(Halved)


@pytest.mark.usefixtures("halved")
def test_a_registered_norm_is_known_everywhere() -> None:
    assert "halved" in norm_names() and norm_names() == sorted(norm_names())
    assert norm_class("halved") is Halved
    norm = build_norm("halved", 4, 1e-3, factor="2", on="True")
    assert (norm.normalized_shape, norm.eps, norm.factor, norm.on) == ((4,), 1e-3, 2.0, True)


@pytest.mark.usefixtures("halved")
def test_a_taken_name_names_both_classes() -> None:
    class Other(Halved):
        """Another."""

    with pytest.raises(ValueError, match=r"'halved' is taken by \S*Halved; choose another name for \S*Other"):
        register_norm("halved")(Other)
    assert norm_class("halved") is Halved


@pytest.mark.parametrize("name", ["", "Halved", "half norm", "half-norm", "2norm", "half/norm"])
def test_refuses_a_name_unfit_for_folders_and_flags(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case identifier"):
        register_norm(name)(Halved)


def test_refuses_what_is_no_norm() -> None:
    for wrong in (dict, lambda x: x):
        with pytest.raises(TypeError, match="must be a subclass of app.norms.Norm"):
            register_norm("wrong")(wrong)  # type: ignore[type-var]
    assert "wrong" not in norm_names()


def test_refuses_a_norm_without_normalize() -> None:
    class Bare(Norm):
        """Nothing."""

    with pytest.raises(TypeError, match="must define normalize"):
        register_norm("bare")(Bare)


def test_refuses_an_option_that_the_command_line_could_not_reach() -> None:
    class Positional(Halved):
        """Its k stands before the star."""

        def __init__(self, normalized_shape: int, eps: float = 1e-5, k: float = 0.1) -> None:
            super().__init__(normalized_shape, eps)

    class Swallowing(Halved):
        """Takes anything."""

        def __init__(self, normalized_shape: int, eps: float = 1e-5, **anything: float) -> None:
            super().__init__(normalized_shape, eps)

    for wrong in (Positional, Swallowing):
        with pytest.raises(TypeError, match=r"\(normalized_shape, eps=1e-5, \*, options\)"):
            register_norm("wrong")(wrong)


def test_refuses_an_option_without_type_or_default() -> None:
    class Untyped(Halved):
        """No type."""

        def __init__(self, normalized_shape: int, eps: float = 1e-5, *, k=0.1) -> None:  # type: ignore[no-untyped-def]
            super().__init__(normalized_shape, eps)

    class WithoutDefault(Halved):
        """No default."""

        def __init__(self, normalized_shape: int, eps: float = 1e-5, *, k: float) -> None:
            super().__init__(normalized_shape, eps)

    class OtherDefault(Halved):
        """A default of another type."""

        def __init__(self, normalized_shape: int, eps: float = 1e-5, *, k: float = None) -> None:  # type: ignore[assignment]
            super().__init__(normalized_shape, eps)

    for wrong in (Untyped, WithoutDefault, OtherDefault):
        with pytest.raises(TypeError, match="'k' needs a type .* and a default"):
            register_norm("wrong")(wrong)


@pytest.mark.parametrize(
    ("typed", "meant"), [("adanrom", "adanorm"), ("LayerNorm", "layernorm"), ("detachmean", "detach_mean")]
)
def test_an_unknown_name_is_answered_with_the_nearest_and_the_list(typed: str, meant: str) -> None:
    with pytest.raises(NormError, match=f"unknown norm '{typed}'; did you mean '{meant}'\\? allowed: ") as caught:
        build_norm(typed, 8)
    assert all(name in str(caught.value) for name in norm_names())


@pytest.mark.parametrize("typed", ["xyz", "", None, 3, ["adanorm"], {"name": "adanorm"}], ids=str)
def test_what_is_no_name_at_all_is_answered_too(typed: Any) -> None:
    with pytest.raises(NormError, match="unknown norm .* allowed: adanorm,"):
        bind_options(typed, {})


def test_options_are_complete_and_of_their_type() -> None:
    bound = bind_options("adanorm", {"scale": 2})
    assert bound == {"k": 0.1, "scale": 2.0} and type(bound["scale"]) is float
    assert bind_options("layernorm", {}) == {}


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        ("factor", 2, 2.0),
        ("factor", "1e-3", 0.001),
        ("factor", "-2", -2.0),
        ("count", "3", 3),
        ("count", 3, 3),
        ("on", True, True),
        ("on", "false", False),
        ("on", "True", True),
        ("mode", "1", "1"),
    ],
)
@pytest.mark.usefixtures("halved")
def test_values_are_converted(option: str, given: Any, expected: Any) -> None:
    bound = bind_options("halved", {option: given})[option]
    assert bound == expected and type(bound) is type(expected)


@pytest.mark.parametrize(
    ("option", "given", "kind"),
    [
        ("factor", "much", "float"),
        ("factor", True, "float"),
        ("factor", None, "float"),
        ("factor", [1.0], "float"),
        ("factor", 10**400, "float"),
        ("count", 2.0, "int"),
        ("count", "2.5", "int"),
        ("count", False, "int"),
        ("on", 1, "bool"),
        ("on", "yes", "bool"),
        ("mode", 1, "str"),
        ("mode", True, "str"),
    ],
)
@pytest.mark.usefixtures("halved")
def test_values_of_another_type_are_refused(option: str, given: Any, kind: str) -> None:
    with pytest.raises(NormError, match=f"'halved': option {option} is .*; must be of type {kind}"):
        bind_options("halved", {option: given})


@pytest.mark.parametrize("given", [float("nan"), "inf", "-inf"])
@pytest.mark.parametrize(("name", "option"), [("adanorm", "k"), ("adanorm", "scale"), ("dyt", "alpha_init")])
def test_numbers_that_are_not_finite_are_refused(name: str, option: str, given: Any) -> None:
    with pytest.raises(NormError, match=f"{option} must be finite"):
        bind_options(name, {option: given})
    with pytest.raises(ValueError, match=f"{option} must be finite"):
        norm_class(name)(8, **{option: float(given)})


def test_a_scale_of_0_is_refused_when_the_config_is_read() -> None:
    with pytest.raises(NormError, match="'adanorm': scale must not be 0"):
        bind_options("adanorm", {"scale": "0"})
    with pytest.raises(ValueError, match="scale must not be 0"):
        norm_class("adanorm")(8, scale=0.0)


@pytest.mark.usefixtures("halved")
def test_what_the_norm_itself_refuses_names_the_norm() -> None:
    with pytest.raises(NormError, match="'halved': count must not be 13"):
        build_norm("halved", 4, count=13)
    with pytest.raises(NormError, match="'layernorm': normalized_shape must be"):
        build_norm("layernorm", 0)


def test_an_unknown_option_is_answered_with_the_nearest_and_the_list() -> None:
    with pytest.raises(NormError, match="'adanorm' has no option 'scael'; did you mean 'scale'.* allowed: k, scale"):
        build_norm("adanorm", 8, scael=2)
    with pytest.raises(NormError, match="'layernorm' has no option 'k'; layernorm has no options"):
        bind_options("layernorm", {"k": 1})


@pytest.mark.parametrize("options", [["k"], "k=1", 3])
def test_options_that_are_no_mapping_are_refused(options: Any) -> None:
    with pytest.raises(NormError, match="options must be names and values"):
        bind_options("adanorm", options)


def test_a_new_file_is_all_that_a_new_norm_needs(tmp_path: Path) -> None:
    source = Path(app.norms.__file__).parent
    shutil.copytree(source, tmp_path / "app" / "norms", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "app" / "norms" / "tripled.py").write_text(
        "from app.norms.base import Norm\n"
        "from app.norms.registry import register_norm\n\n\n"
        '@register_norm("tripled")\n'
        "class Tripled(Norm):\n"
        "    def normalize(self, x):\n"
        "        return 3 * x\n"
    )
    program = "import torch; from app.norms import build_norm; print(build_norm('tripled', 2)(torch.ones(2)).tolist())"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[3.0, 3.0]"


@pytest.mark.parametrize("name", ["dyt", "derf"])
def test_auto_of_a_norm_outside_any_model_is_chosen_by_its_own_width(name: str) -> None:
    norm: Any = norm_class(name)(4096, alpha_init="auto")
    assert norm.alpha_init == 0.2 and float(norm.alpha.detach()) == pytest.approx(0.2)
    assert repr(norm) == repr(build_norm(name, 4096, alpha_init="auto"))
