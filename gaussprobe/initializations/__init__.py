"""View `init`: the units of networks that a function builds, over random initializations."""

from gaussprobe.initializations.drawing import Prepare, Settings, first_example, one_example, run
from gaussprobe.initializations.networks import Build, draw_seed

__all__ = ["Build", "Prepare", "Settings", "draw_seed", "first_example", "one_example", "run"]
