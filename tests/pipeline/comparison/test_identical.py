"""Files of the same bytes are found by their hash, whatever a method says of them."""

import numpy as np
import pyarrow.parquet as pq
from published_features import hdf5, imported
from score_libraries import compared, scores_in

DARK, BRIGHT = np.zeros((3, 512), np.uint8), np.full((3, 512), 255, np.uint8)


def test_files_of_the_same_bytes_are_listed_beside_their_scores(tmp_path):
    """Of features that are all zero the method says nothing; that the files are one is certain."""
    for folder, arrays in {"q": {"dark": DARK}, "v": {"copy": DARK, "other": BRIGHT}}.items():
        assert imported(hdf5(tmp_path / f"{folder}.hdf5", arrays), tmp_path / folder, method="thumbprint").failed == {}
    done = compared(tmp_path / "q", tmp_path / "v", tmp_path / "s", method="thumbprint", weights=None)
    rows = pq.read_table(tmp_path / "s" / "identical.parquet").to_pylist()
    assert [(row["side"], row["video_id"]) for row in rows] == [("queries", "dark"), ("videos", "copy")]
    assert len({row["content"] for row in rows}) == 1 and done.identical == 2
    assert "2 videos share their file with another: identical.parquet" in done.text()
    assert set(scores_in(tmp_path / "s")) == {("dark", "copy"), ("dark", "other")}


def test_a_library_without_such_files_has_no_such_list(tmp_path):
    imported(hdf5(tmp_path / "f.hdf5", {"dark": DARK, "other": BRIGHT}), tmp_path / "lib", method="thumbprint")
    done = compared(tmp_path / "lib", tmp_path / "lib", tmp_path / "s", method="thumbprint", weights=None)
    assert done.identical == 0 and not (tmp_path / "s" / "identical.parquet").exists()
