"""A path or a module in, a callable model and its batches out; nothing from an untrusted file is run."""

from __future__ import annotations

from gaussprobe.models.activations import Activations
from gaussprobe.models.batches import call_arguments, first_tensor, to_device, unwrapped
from gaussprobe.models.companions import Groups, data_mask, split_groups
from gaussprobe.models.data import from_python, open_data
from gaussprobe.models.dtypes import Caster
from gaussprobe.models.factory import is_reference, load_object
from gaussprobe.models.images import ImageOptions, image_options
from gaussprobe.models.inputs import Inputs
from gaussprobe.models.layers import expectation, sequence_first
from gaussprobe.models.open import OpenedModel, open_any, open_model
from gaussprobe.models.sniff import FileKind, sniff
from gaussprobe.models.synthetic import infer

__all__ = [
    "Activations",
    "Caster",
    "FileKind",
    "Groups",
    "ImageOptions",
    "Inputs",
    "OpenedModel",
    "call_arguments",
    "data_mask",
    "expectation",
    "first_tensor",
    "from_python",
    "image_options",
    "infer",
    "is_reference",
    "load_object",
    "open_any",
    "open_data",
    "open_model",
    "sequence_first",
    "sniff",
    "split_groups",
    "to_device",
    "unwrapped",
]
