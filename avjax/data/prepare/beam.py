"""Writes shards with Apache Beam: the same function of a shard's number, on other machines.

Requires `pip install apache-beam`.  All workers must see the files and the folder of the shards
under the same paths as here.
"""

from collections.abc import Callable, Iterable


def run(write: Callable, numbers: Iterable[int], runner: str, options: str, timeout: float) -> None:
    """Calls write(number, blocked, heartbeat) for each of `numbers` on a Beam runner.

    Args:
      write: a function as in avjax.data.workers.pool.
      numbers: of the shards.
      runner: name of the Beam runner.
      options: flags of Beam's pipeline in one string, as on its command line.
      timeout: seconds, see avjax.data.workers.pool.

    Raises:
      ImportError: Beam is not installed.
    """
    try:
        import apache_beam as beam  # pyright: ignore[reportMissingImports]
        from apache_beam.options.pipeline_options import (  # pyright: ignore[reportMissingImports]
            PipelineOptions,
        )
    except ImportError as error:
        raise ImportError(
            "--beam_runner needs Apache Beam: pip install apache-beam (with [gcp] for Dataflow)"
        ) from error
    import functools
    import shlex

    flags = PipelineOptions(shlex.split(options), runner=runner)
    with beam.Pipeline(options=flags) as pipeline:
        _ = (
            pipeline
            | "shards" >> beam.Create(list(numbers))
            # Else Beam would fuse the two, and one worker would write them all.
            | "spread" >> beam.Reshuffle()
            | "write" >> beam.Map(functools.partial(write_shard, write, timeout))
        )


def write_shard(write: Callable, timeout: float, number: int) -> None:
    """Writes one shard in a process of its own, which may be killed or hang.

    Args:
      write, timeout: as in `run`.
      number: of the shard.
    """
    from avjax.data.workers import prefetch

    with prefetch.pool(write, 1, timeout=timeout) as call:
        call(number)
