"""The settings of `python -m avjax.prepare` that a config requires."""

from avjax.config import app
from avjax.config.build import build, substitute
from avjax.training.sources import find_datasets


def prepare_settings(name: str) -> dict[str, int | float]:
    """Returns {"short_side": pixels, "fps": 1/s, "rate": Hz, "channels": 1 or 2}.

    The smallest settings that serve every clip of training and evaluation, in all stages.  0 keeps
    the resolution or rate of the files.  A setting that no clip needs is absent, such as the
    sample rate of a config without audio.

    Args:
      name: a config file, with its argument after a colon: "configs/avts_kinetics.py:mc2".

    Raises:
      ValueError: the config does not exist, fails, or has no data set.
    """
    config = app.load_config_file("--for_config", name)[1].to_dict()
    samplers = [
        build(substitute(spec["clip_sampler"], ""), f"config.{key}.clip_sampler")
        for key, spec in find_datasets(config)
    ]
    if not samplers:
        raise ValueError(f"--for_config {name}: the config has no data set")
    with_frames, with_audio = (
        [v for v in samplers if v.num_frames],
        [v for v in samplers if v.num_samples],
    )
    settings = {}
    if with_frames:
        sides = [sampler.short_side or 0 for sampler in with_frames]
        settings["short_side"] = max(sides) if all(sides) else 0
        settings["fps"] = common_frame_rate([float(sampler.fps) for sampler in with_frames])
    if with_audio:
        settings["sample_rate"] = max(sampler.sample_rate for sampler in with_audio)
        settings["channels"] = max(sampler.channels for sampler in with_audio)
    return settings


def common_frame_rate(rates: list[float]) -> float:
    """Returns the highest frame rate if it is a multiple of all others, else 0."""
    highest = max(rates)
    ratios = [highest / rate for rate in rates]
    return highest if all(abs(ratio - round(ratio)) < 1e-6 for ratio in ratios) else 0.0


def format_flags(settings: dict) -> str:
    """Returns the settings as command-line flags, e.g. "--short_side 256 --fps 16"."""
    return " ".join(f"--{name} {value:g}" for name, value in settings.items())
