"""A batch refuses what a search could not account for."""

import pytest

from hpcml.protocol import Batch, GridSharing

GOOD = {"candidates": (0, 2), "folds": (0, 1), "cost": 1.0, "shared": "trees", "weights": (0.25, 0.75)}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"candidates": ()}, "candidates"),
        ({"candidates": (1, 1)}, "candidates"),
        ({"candidates": (-1, 1)}, "candidates"),
        ({"folds": ()}, "folds"),
        ({"cost": float("nan")}, "cost"),
        ({"cost": -1.0}, "cost"),
        ({"weights": (1.0,)}, "weights"),
        ({"weights": (0.5, 0.6)}, "weights"),
        ({"weights": (-0.5, 1.5)}, "weights"),
    ],
)
def test_bad_batch_is_refused(change, word):
    Batch(**GOOD)
    with pytest.raises(ValueError, match=f"{word} of a Batch must be .* Got "):
        Batch(**{**GOOD, **change})


def test_third_weights_are_accepted_and_batches_compare():
    thirds = Batch(**{**GOOD, "candidates": (0, 1, 2), "weights": (1 / 3,) * 3})
    assert thirds == Batch(**{**GOOD, "candidates": (0, 1, 2), "weights": (1 / 3,) * 3})


def test_sharing_is_recognised_by_its_methods():
    class Sharing:
        def plan_grid(self, candidates, n_folds):
            return []

        def fit_grid(self, X, y, candidates, folds, *, responses, fit_params):
            yield from ()

    assert isinstance(Sharing(), GridSharing)
    assert not isinstance(object(), GridSharing)
