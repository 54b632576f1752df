import ml_collections
import pytest

from avjax.config.build import build, substitute


def test_a_name_and_its_arguments_become_what_they_name():
    parts = build({"a": [dict(fn="fractions.Fraction", numerator=1, denominator=2)], "b": 3})
    assert parts["a"][0] * 2 == 1 and parts["b"] == 3


def test_inner_specs_are_built_first_and_args_are_passed_by_position():
    spec = dict(fn="fractions.Fraction", args=(dict(fn="fractions.Fraction", args=("1/3",)),))
    assert build(spec) * 3 == 1


def test_a_module_stands_for_its_make():
    assert build(dict(fn="avjax.evals.retrieval", ks=(1,)))


def test_a_wrong_argument_names_the_part_that_refused_it():
    says = "^config.method.negatives: avjax.losses.negatives.memory_bank takes no argument num_negativez.*'num_negatives'"
    with pytest.raises(ValueError, match=says):
        build(
            {"negatives": dict(fn="avjax.losses.negatives.memory_bank", num_negativez=3)},
            "config.method",
        )


def test_a_missing_argument_and_a_callable_that_raises_are_named_by_their_key():
    with pytest.raises(
        ValueError,
        match="avjax.losses.negatives.memory_bank needs num_negatives: set config.negatives.num_negatives",
    ):
        build(dict(fn="avjax.losses.negatives.memory_bank"), "config.negatives")
    with pytest.raises(ValueError, match="^config.x: fractions.Fraction: ZeroDivisionError"):
        build(dict(fn="fractions.Fraction", args=(1, 0)), "config.x")
    with pytest.raises(ValueError, match="'avjax.losses.contrastive' is a module"):
        build(dict(fn="avjax.losses.contrastive"))


@pytest.mark.parametrize("name", ["avjax.nothing.here", "avjax.losses.negatives.nothing"])
def test_a_name_of_nothing_is_said(name):
    with pytest.raises(ValueError, match=name):
        build(dict(fn=name))


def test_a_config_dict_is_refused():
    with pytest.raises(TypeError, match="to_dict"):
        build(ml_collections.ConfigDict(dict(fn="avjax.losses.negatives.in_batch")))


def test_references_within_lists_follow_the_command_line():
    c = ml_collections.ConfigDict({"steps": 5})
    c.optimizer = dict(
        args=(dict(rate=dict(decay_steps=c.get_ref("steps") * 2)), [c.get_ref("steps")])
    )
    c.steps = 9
    args = ({"rate": {"decay_steps": 18}}, [9])
    assert substitute(c.to_dict(), "") == {"steps": 9, "optimizer": {"args": args}}
