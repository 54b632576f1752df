"""How the programs that take a config begin."""

import sys

from absl import app, flags


def run(main):
    """Starts `main`; a flag or a config key that does not exist ends in one line."""
    flags.mark_flag_as_required("config")
    try:
        app.run(main)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if flags.FLAGS.is_parsed():
            raise
        sys.exit("avjax: " + " ".join(str(error.args[0]).split()))
