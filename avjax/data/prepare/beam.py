"""Writing shards on Apache Beam: the same function of a shard's number, on other machines.

Wants `pip install apache-beam`.  All workers must see the files and the folder of the
shards under the paths that they have here.
"""


def run(write, numbers, runner, options, deadline):
    """Calls write(number, barred, announce) for each of `numbers` on a Beam `runner`.

    options: flags of Beam's pipeline in one string, as on its command line.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
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
            | "write" >> beam.Map(functools.partial(one, write, deadline))
        )


def one(write, deadline, number):
    """Writes one shard in a process of its own, which a file may kill or hang."""
    from avjax.data.workers import prefetch

    with prefetch.pool(write, 1, deadline=deadline) as call:
        call(number)
