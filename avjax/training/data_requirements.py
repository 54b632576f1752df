"""What a config asks of prepared data: the settings of `python -m avjax.prepare` that suit it."""

from avjax.config import app
from avjax.config.build import build, filled
from avjax.training import dry_run


def of(name: str) -> dict[str, int | float]:
    """Returns {"short_side": pixels, "fps": 1/s, "rate": Hz, "channels": 1 or 2}.

    They are the least that serves every clip of training and evaluation, in all stages: of several
    frame rates the highest where the others divide it.  0 is all that the files have.  A setting
    that no clip needs, such as the rate without sound, is left out.

    Args:
      name: a config file, with what may follow a colon: "configs/avts_kinetics.py:mc2".

    Raises:
      ValueError: there is no such config, it fails, or it has no data.
    """
    config = app.made("--for_config", name)[1].to_dict()
    samplers = [build(filled(spec["clip_sampler"], "")) for _, spec in dry_run.datasets(config)]
    if not samplers:
        raise ValueError(f"--for_config {name}: it has no data set, so nothing to prepare")
    seen, heard = ([v for v in samplers if v.num_frames], [v for v in samplers if v.num_samples])
    settings = {}
    if seen:
        sides = [sampler.short_side or 0 for sampler in seen]
        settings["short_side"] = max(sides) if all(sides) else 0
        settings["fps"] = common([float(sampler.fps) for sampler in seen])
    if heard:
        settings["sample_rate"] = max(sampler.sample_rate for sampler in heard)
        settings["channels"] = max(sampler.channels for sampler in heard)
    return settings


def common(rates: list[float]) -> float:
    """The highest rate where each other one is it divided by a whole number, else 0."""
    highest = max(rates)
    ratios = [highest / rate for rate in rates]
    return highest if all(abs(ratio - round(ratio)) < 1e-6 for ratio in ratios) else 0.0


def flags(settings: dict) -> str:
    """The settings as they are written on the command line."""
    return " ".join(f"--{name} {value:g}" for name, value in settings.items())
