"""Statistics of samples that pass in batches: states of bounded memory that merge.

A state takes batches with `update`, joins the states of other processes with `merge`, and answers with
`compute` at any time. How the samples were cut into batches and in which order parts were merged changes
nothing, or only the last digits.
"""

from __future__ import annotations

from gaussprobe.stats.streaming.moments import Moments, StreamingMoments
from gaussprobe.stats.streaming.reservoir import Reservoir, RowSample
from gaussprobe.stats.streaming.state import State

__all__ = ["Moments", "Reservoir", "RowSample", "State", "StreamingMoments"]
