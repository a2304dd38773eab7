"""Results as a notebook shows them."""

import re
from html import unescape

import pytest
from published_features import hdf5, imported
from score_libraries import compared, drifting, library

import ndvr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("a<b>&c")
    library(made / "lib", {"v1": 3, "v2": 4, "w11": 3})
    compared(made / "lib", made / "lib", made / "scores")
    (made / "truth.csv").write_text("query_id,video_id,relation\nv1,v2,near_dup\n")
    return made


def shown(result) -> str:
    """The text in what a notebook is given, which has to be whole and escaped."""
    found = result._repr_html_()
    assert found.startswith("<pre>") and found.endswith("</pre>")
    inner = re.sub(r"</?b>", "", found.removeprefix("<pre>").removesuffix("</pre>"))
    assert "<" not in inner and ">" not in inner
    return unescape(inner)


def test_scores_with_the_warning_and_a_folder_whose_name_is_markup(folder):
    again = compared(folder / "lib", folder / "lib", folder / "scores")
    assert shown(again).startswith("WARNING: untrained")
    assert again._repr_html_().startswith("<pre><b>WARNING")
    assert f"9 scores of 3 queries x 3 videos by csl3d in {folder / 'scores'}" in shown(again)


def test_pairs_that_are_alike(folder):
    settings = {"method": "csl3d", "weights": "random:5", "workers": 0, "progress": False}
    result = ndvr.dedupe(folder / "lib", folder / "pairs", threshold=0.5, **settings)
    assert result.text() in shown(result)


def test_an_extraction_or_import(folder):
    summary = imported(hdf5(folder / "more.hdf5", {"x1": drifting(3, 1)}), folder / "more", method="csl3d")
    assert "1 videos" in shown(summary)


def test_an_evaluation_and_several(folder):
    one = ndvr.evaluate(folder / "scores", truth=folder / "truth.csv")
    assert shown(one) == one.table()
    several = ndvr.compare_scores(
        {"<ours>": folder / "scores", "theirs": folder / "scores"}, truth=folder / "truth.csv"
    )
    assert shown(several) == several.table() and "<ours>" in shown(several)
