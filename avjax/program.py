"""How the programs that take a config begin."""

import sys
from collections.abc import Callable

from absl import app, flags, logging

from avjax import preemption
from avjax.data.filenames import any_name_on_screen


def run(main):
    """Starts `main`; a flag or a config key that does not exist ends in one line."""
    flags.mark_flag_as_required("config")
    any_name_on_screen()
    # A config is built when it is checked and when it runs, and data sets occur in it repeatedly.
    logging.get_absl_handler().addFilter(once())
    try:
        app.run(preemption.in_one_line(main, "the same command starts it again"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if flags.FLAGS.is_parsed():
            raise
        sys.exit("avjax: " + " ".join(str(error.args[0]).split()))


def once() -> Callable:
    """A filter for a logging handler: of equal messages only the first passes."""
    seen = set()

    def first(record) -> bool:
        key = record.name, record.levelno, record.getMessage()
        new = key not in seen
        seen.add(key)
        return new

    return first
