"""Built-in experiments."""

from __future__ import annotations

import torch

from gaussprobe import recipes


def test_digits_are_all_there_and_standardised() -> None:
    """5,000 digits, 500 of each class, split 4,000 to 1,000; the training pixels have mean 0 and sd 1."""
    digits = recipes.load_mnist5k()
    labels = torch.cat([digits.train_labels, digits.test_labels])
    assert torch.bincount(labels).tolist() == [500] * 10
    assert digits.train_images.shape == (4000, 1, 28, 28)
    assert digits.test_images.shape == (1000, 1, 28, 28)
    assert abs(float(digits.train_images.mean())) < 1e-4
    assert abs(float(digits.train_images.std()) - 1) < 1e-4


def test_training_learns_and_leaves_the_generator_alone() -> None:
    """One epoch gets more than 90 % of held-out digits right; the global generator is as before."""
    state = torch.get_rng_state()
    trained = recipes.train_mnist5k(recipes.load_mnist5k(), epochs=1)
    assert trained.accuracy > 0.9
    assert not trained.model.training
    assert torch.equal(torch.get_rng_state(), state)
