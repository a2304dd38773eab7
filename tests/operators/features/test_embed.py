"""Embedding: a feature's bits depend on its piece alone; a piece that cannot be embedded fails alone."""

import numpy as np
import pytest
import torch
from method_inputs import loaded, windows_of

from ndvr import models
from ndvr.operators.features.embed import Embed, _stored, windows_per_batch
from ndvr.operators.rows import table


def piece(method: str, windows: np.ndarray) -> dict:
    return {"method": method, "kind": "piece", "windows_count": len(windows), "data": windows.tobytes()}


def embedded(embed: Embed, *rows: dict) -> list[bytes]:
    found = embed(table(list(rows))).to_pylist()
    assert [row["status"] for row in found] == [None] * len(rows)
    return [row["data"] for row in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_features_do_not_depend_on_neighbours_their_order_or_the_number_of_threads(name):
    """Measured before: S2VS's bits changed with the threads of a batch, AuSiL's and C3DHash's with its size."""
    model = loaded(name, ("embed",))
    one, two, three = (piece(name, windows_of(model, count, seed=count)) for count in (1, 2, 3))
    torch.set_num_threads(2)  # what would share a batch, were it let
    together = embedded(Embed({name: model}), three, one, two)
    several = Embed({name: model}, threads=2)
    assert embedded(several, two, three) == [together[2], together[0]]
    assert embedded(several, one) == [together[1]]


@pytest.mark.slow
def test_a_piece_of_several_batches_is_the_same_alone_and_among_others():
    model = loaded("ausil", ("embed",))
    windows = windows_of(model, windows_per_batch(model) + 1)
    long, short = piece("ausil", windows), piece("ausil", windows[5:8])
    two = Embed({"ausil": model}, threads=2)
    (alone,) = embedded(Embed({"ausil": model}), long)
    assert embedded(two, short, long)[1] == alone
    features = np.frombuffer(alone, np.float16).reshape(len(windows), -1)
    np.testing.assert_allclose(features, model.embed(windows), atol=1e-3)  # half floats of values up to 1


def test_a_piece_that_cannot_be_embedded_fails_and_the_others_do_not():
    model = loaded("ausil", ("embed",))
    good, bad = windows_of(model, 2), np.full((12, *model.view.window_shape), np.nan, np.float32)
    end = {"method": "ausil", "kind": "end", "status": "done"}
    rows = Embed({"ausil": model})(table([piece("ausil", bad), piece("ausil", good), end])).to_pylist()
    assert [row["status"] for row in rows] == ["failed", None, "done"]
    assert (rows[0]["error_class"], rows[0]["data"]) == ("crash", b"")
    assert rows[0]["message"].startswith("embedding: ValueError: ausil produced features that are not finite")
    assert len(rows[1]["data"]) == 2 * 2528 * 2 and rows[1]["embed_s"] > 0


def test_features_too_large_for_the_type_of_shards_are_a_failure_not_an_infinity():
    with pytest.raises(ValueError, match="features up to 70000 do not fit float16"):
        _stored(np.full((1, 2528), 7e4, np.float32), loaded("ausil", ("embed",)))


def test_a_video_without_windows_is_passed_on():
    end = table([{"method": "thumbprint", "kind": "end", "status": "skipped"}])
    assert Embed({"thumbprint": loaded("thumbprint", ("embed",))})(end).equals(end)
