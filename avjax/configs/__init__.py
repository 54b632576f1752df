"""The shipped configs, e.g. `from avjax.configs import parts`.

In a checkout they are in the top-level folder `configs`; in an installed package that folder
replaces this file.
"""

from pathlib import Path

__path__ = [str(Path(__file__).parents[2] / "configs")]
