"""A path or a module in, a callable model and its batches out; nothing from an untrusted file is run."""

from __future__ import annotations

from gaussprobe.models.batches import call_arguments, first_tensor, to_device, unwrapped
from gaussprobe.models.companions import Groups, data_mask, split_groups
from gaussprobe.models.data import from_python, open_data
from gaussprobe.models.factory import load_object
from gaussprobe.models.inputs import Inputs
from gaussprobe.models.layers import sequence_first
from gaussprobe.models.open import OpenedModel, open_model
from gaussprobe.models.sniff import FileKind, sniff
from gaussprobe.models.synthetic import infer

__all__ = [
    "FileKind",
    "Groups",
    "Inputs",
    "OpenedModel",
    "call_arguments",
    "data_mask",
    "first_tensor",
    "from_python",
    "infer",
    "load_object",
    "open_data",
    "open_model",
    "sequence_first",
    "sniff",
    "split_groups",
    "to_device",
    "unwrapped",
]
