"""The similarities in TCA's code that its paper does not use give the authors' numbers."""

import numpy as np
import pytest
import torch
from golden_losses import ATOL, GOLDEN, close, golden

from ndvr.models.training import tca_alignments


def test_the_unused_similarities_of_tca_are_the_authors():
    queries, targets = ([golden(f"similarity/{side}{k}") for k in range(n)] for side, n in (("q", 3), ("d", 4)))
    close(torch.tensor([[tca_alignments.dynamic_programming(q, t) for t in targets] for q in queries]), "similarity/dp")
    queries.append(golden("similarity/q3_tn"))
    targets = [*targets[2:], golden("similarity/d4_tn")]
    settings = {"top": 3, "threshold": 0.5, "step": 4}
    found = [
        [[tca_alignments.temporal_network(q, t), tca_alignments.temporal_network(q, t, **settings)] for t in targets]
        for q in queries
    ]
    np.testing.assert_allclose(found, GOLDEN["similarity/tn"], atol=ATOL)
    videos = (golden(f"similarity/video_{side}").float() for side in "qd")
    close(tca_alignments.euclidean(*videos), "similarity/video_euclidean")


def test_a_temporal_network_needs_neither_matches_nor_many_frames():
    axes = torch.eye(4)
    assert tca_alignments.temporal_network(axes[:2], axes[2:]) == 0
    assert tca_alignments.temporal_network(axes[:3], axes[:3]) == pytest.approx(3)
    assert tca_alignments.temporal_network(axes[:2], axes[[1, 0]]) == pytest.approx(1)  # the order is the wrong one
