import functools
import operator

import ml_collections
import pytest

from avjax.config import arguments, errors, signatures
from avjax.config.build import build, substitute


def test_spec_with_fn_and_arguments_is_built():
    parts = build({"a": [dict(fn="fractions.Fraction", numerator=1, denominator=2)], "b": 3})
    assert parts["a"][0] * 2 == 1 and parts["b"] == 3


def test_inner_specs_are_built_first_and_args_are_positional():
    spec = dict(fn="fractions.Fraction", args=(dict(fn="fractions.Fraction", args=("1/3",)),))
    assert build(spec) * 3 == 1


def test_module_resolves_to_its_make():
    assert build(dict(fn="avjax.evals.retrieval", ks=(1,)))


def test_ref_is_the_object_itself():
    assert build(dict(ref="operator.neg")) is operator.neg
    assert build(dict(fn="functools.partial", args=(dict(ref="operator.neg"), 1)))() == -1
    for wrong, says in (
        (dict(ref="operator.neg", a=1), "config.f has ref and a: ref takes no arguments"),
        (dict(ref="operator.neg", fn="x"), "config.f has ref and fn: "),
        (dict(ref="operator.negg"), "config.f.ref='operator.negg' cannot be imported.*'neg'"),
        (dict(ref=3), "config.f.ref=3: give a dotted name"),
    ):
        with pytest.raises(ValueError, match=f"^{says}"):
            build(wrong, "config.f")


def test_an_error_within_a_list_has_its_number_and_a_key_error_no_quotes():
    spec = {"a": [1, dict(fn="operator.getitem", args=({}, "x"))]}
    with pytest.raises(ValueError, match="^config.a.1: operator.getitem: KeyError: x$"):
        build(spec)


@pytest.mark.parametrize(
    "value,annotation,fits",
    [
        (1, "float", True), (1.5, "int", False), (True, "int", False), (0, "bool", False),
        ("a", "int | str", True), (None, "int | None", True), (None, "int", False),
        ([1], "tuple[int, ...]", True), ("a", "collections.abc.Sequence[str]", False),
        ({}, "collections.abc.Mapping[str, int]", True), ("a", "jax.Array", True),
    ],
)  # fmt: skip
def test_plain_values_are_checked_against_annotations(value, annotation, fits):
    check = functools.partial(arguments.check_type, "config.x", value)
    if fits:
        check(signatures.annotated_types(annotation))
    else:
        with pytest.raises(ValueError, match="^config.x=.*: use "):
            check(signatures.annotated_types(annotation))


@pytest.mark.parametrize(
    "text,says",
    [
        ("k=3: use less", "config.m.a.k=3: use less"),
        ("k=33: use less", "config.m: k=33: use less"),
        ("b=2: use less", "config.m: b=2: use less"),
        ("a.k=3: use less", "config.m.a.k=3: use less"),
        ("config.seed=1: no", "config.seed=1: no"),
        ("no records", "config.m: no records"),
    ],
)
def test_a_message_about_an_argument_gets_the_key_of_the_only_one(text, says):
    spec = dict(a=dict(k=3, b=2), c=[dict(b=2)])
    assert errors.with_key("config.m", text, spec) == says


def test_wrong_argument_reports_the_refusing_part():
    says = "^config.method.negatives.num_negativez: avjax.losses.memory_bank has no argument .*'num_negatives'"
    with pytest.raises(ValueError, match=says):
        build(
            {"negatives": dict(fn="avjax.losses.memory_bank", num_negativez=3)},
            "config.method",
        )


def test_missing_argument_and_raising_callable_report_their_key():
    with pytest.raises(
        ValueError,
        match="^config.negatives.num_negatives is missing: avjax.losses.memory_bank requires it; "
        "set --config.negatives.num_negatives=...",
    ):
        build(dict(fn="avjax.losses.memory_bank"), "config.negatives")
    with pytest.raises(ValueError, match="^config.x: fractions.Fraction: ZeroDivisionError"):
        build(dict(fn="fractions.Fraction", args=(1, 0)), "config.x")
    with pytest.raises(ValueError, match="'avjax.losses.contrastive' is a module"):
        build(dict(fn="avjax.losses.contrastive"))


@pytest.mark.parametrize("name", ["avjax.nothing.here", "avjax.losses.negatives.nothing"])
def test_unresolvable_name_is_reported(name):
    with pytest.raises(ValueError, match=name):
        build(dict(fn=name))


def test_config_dict_is_refused():
    with pytest.raises(TypeError, match="to_dict"):
        build(ml_collections.ConfigDict(dict(fn="avjax.losses.negatives.in_batch")))


def test_references_in_lists_follow_overrides():
    c = ml_collections.ConfigDict({"steps": 5})
    c.optimizer = dict(
        args=(dict(rate=dict(decay_steps=c.get_ref("steps") * 2)), [c.get_ref("steps")])
    )
    c.steps = 9
    args = ({"rate": {"decay_steps": 18}}, [9])
    assert substitute(c.to_dict(), "") == {"steps": 9, "optimizer": {"args": args}}


def test_name_that_a_module_lacks_is_refused_without_importing_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "heavy_part.py").write_text("raise SystemError('imported')\ndef here(): ...\n")
    (tmp_path / "late_part.py").write_text("globals()['fo' + 'und'] = int\n")
    with pytest.raises(
        ValueError, match="module 'heavy_part' has no attribute 'her'; did you mean"
    ):
        build(dict(fn="heavy_part.her"))
    with pytest.raises(SystemError, match="imported"):
        build(dict(fn="heavy_part.here"))
    # Its text does not say what a module defines with globals(): it is imported.
    assert build(dict(fn="late_part.found")) == 0
