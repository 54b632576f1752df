"""What configs ask of prepared data."""

import pytest

from avjax import prepare
from avjax.training import data_requirements

ROOT = "configs/{}.py".format


@pytest.mark.parametrize(
    "name,asked",
    [
        ("avid_kinetics", dict(short_side=256, fps=16.0, sample_rate=24_000, channels=1)),
        ("avid_folder", dict(short_side=128, fps=8.0, sample_rate=24_000, channels=1)),
        ("avts_kinetics", dict(short_side=256, fps=25.0, sample_rate=16_000, channels=1)),
        ("l3_kinetics", dict(short_side=256, fps=25.0, sample_rate=48_000, channels=1)),
        ("xdc_kinetics", dict(short_side=256, fps=30.0, sample_rate=16_000, channels=1)),
        ("instdisc_kinetics", dict(short_side=256, fps=16.0)),
        # A stage at a quarter of the frame rate.
        ("multisensory_audioset", dict(short_side=256, fps=29.97, sample_rate=21_000, channels=2)),
    ],
)
def test_config_requirements_are_collected(name, asked):
    assert data_requirements.prepare_settings(ROOT(name)) == asked
    assert data_requirements.format_flags(asked).startswith(
        f"--short_side {asked['short_side']} --fps "
    )


def test_function_after_colon_is_resolved():
    assert data_requirements.prepare_settings(ROOT("avid_folder") + ":large")["short_side"] == 256


def test_highest_frame_rate_counts_if_others_divide_it():
    assert data_requirements.common_frame_rate([25.0, 25.0]) == 25.0
    assert data_requirements.common_frame_rate([8.0, 16.0, 32.0]) == 32.0
    assert data_requirements.common_frame_rate([10.0, 30.0]) == 30.0
    assert data_requirements.common_frame_rate([16.0, 25.0]) == 0.0


WRONG = "def get_config():\n    raise KeyError('x')\n"


@pytest.mark.parametrize(
    "text,says",
    [
        (None, "no such file"),
        ("def get_config(:\n", "line 1: invalid"),
        ("import nothing_of_this_name\n", "line 1: No module named"),
        ("x = 1\n", "no function get_config"),
        (WRONG, "line 2: KeyError: x"),
        ("import ml_collections\nget_config = ml_collections.ConfigDict\n", "has no data set"),
    ],
)
def test_failing_config_is_reported_in_one_line(tmp_path, capsys, text, says):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=f"--for_config .*mine.py.*{says}"):
        data_requirements.prepare_settings(str(file))
    with pytest.raises(SystemExit, match="avjax: --for_config"):
        prepare.main([str(tmp_path), str(tmp_path / "out"), "--for_config", str(file)])
    assert not (tmp_path / "out").exists()


def test_prepare_follows_config_unless_overridden(tmp_path, capsys):
    argv = ["IN", "OUT", "--for_config", ROOT("avts_kinetics"), "--fps", "0"]
    args = prepare.apply_config_settings(prepare.parser().parse_args(argv), argv)
    assert (args.short_side, args.fps, args.sample_rate, args.channels) == (256, 0.0, 16_000, 1)
    assert capsys.readouterr().out == (
        "configs/avts_kinetics.py asks for --short_side 256 --fps 25 --sample_rate 16000 "
        "--channels 1\n"
    )
    plain = prepare.parser().parse_args(["IN", "OUT"])
    assert prepare.apply_config_settings(plain, ["IN", "OUT"]) is plain
