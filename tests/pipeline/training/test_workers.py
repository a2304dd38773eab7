"""One training by two workers on Ray Train."""

import pytest
from training_library import trained


@pytest.mark.slow
def test_two_workers_learn_what_one_learns_from_the_same_batches(ray_cluster, place, tmp_path):
    """To the byte, and one goes on with what two began."""
    settings = {"truth": place / "others.csv", "test": place / "others", "parts": 2}
    alone = trained(place, tmp_path / "one", **settings)
    together = trained(place, tmp_path / "two", workers=2, **settings)
    assert together.curve == alone.curve
    for name in ("weights.pth", "curve.jsonl", "training.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert trained(place, tmp_path / "two", resume=True, **settings).steps == 6
    with pytest.raises(ValueError, match="parts=3 cannot be shared by 2 workers"):
        trained(place, tmp_path / "three", workers=2, parts=3)
