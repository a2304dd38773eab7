"""Near-duplicate video retrieval: the names that `import ndvr` offers.

import ndvr
ndvr.extract("./videos", "library")
ndvr.similarity("library", "library", "scores")
print(ndvr.evaluate("scores", truth="truth.csv").table())
model = ndvr.models.load("s2vs", weights="./s2vs_dns.pth")

A name is imported when it is first used: `import ndvr` alone loads neither torch nor Ray nor Arrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"  # the only place; setup.cfg and `ndvr --version` read it here

if TYPE_CHECKING:  # for editors and type checkers; tests/test_face.py holds it against the table below
    from ndvr import benchmarks, models, operators, pipeline
    from ndvr.benchmarks.evaluate import compare as compare_scores
    from ndvr.benchmarks.evaluate import evaluate
    from ndvr.operators.library.library import Library
    from ndvr.pipeline.comparison.dedupe import dedupe
    from ndvr.pipeline.comparison.pair import compare
    from ndvr.pipeline.comparison.rerank import rerank
    from ndvr.pipeline.comparison.similarity import similarity
    from ndvr.pipeline.estimate.estimate import make_estimate
    from ndvr.pipeline.extraction.extract import extract
    from ndvr.pipeline.extraction.import_features import import_features
    from ndvr.pipeline.review.decide import decide
    from ndvr.pipeline.review.found_page import write_found_page
    from ndvr.pipeline.search.both import search_both
    from ndvr.pipeline.search.common import common
    from ndvr.pipeline.search.search import Index, index, search
    from ndvr.pipeline.training.train import train
    from ndvr.pipeline.upkeep.fit_pca import fit_pca
    from ndvr.pipeline.upkeep.maintenance import explain, fsck, gc, remove
    from ndvr.pipeline.upkeep.show import show

_MODULES = ("benchmarks", "models", "operators", "pipeline")

# name -> "module:function", as the table of commands in ndvr.pipeline.cli
_FUNCTIONS = {
    "extract": "ndvr.pipeline.extraction.extract:extract",
    "make_estimate": "ndvr.pipeline.estimate.estimate:make_estimate",
    "import_features": "ndvr.pipeline.extraction.import_features:import_features",
    "index": "ndvr.pipeline.search.search:index",
    "search": "ndvr.pipeline.search.search:search",
    "search_both": "ndvr.pipeline.search.both:search_both",
    "Index": "ndvr.pipeline.search.search:Index",
    "common": "ndvr.pipeline.search.common:common",
    "similarity": "ndvr.pipeline.comparison.similarity:similarity",
    "rerank": "ndvr.pipeline.comparison.rerank:rerank",
    "dedupe": "ndvr.pipeline.comparison.dedupe:dedupe",
    "compare": "ndvr.pipeline.comparison.pair:compare",
    "decide": "ndvr.pipeline.review.decide:decide",
    "write_found_page": "ndvr.pipeline.review.found_page:write_found_page",
    "evaluate": "ndvr.benchmarks.evaluate:evaluate",
    "compare_scores": "ndvr.benchmarks.evaluate:compare",
    "Library": "ndvr.operators.library.library:Library",
    "show": "ndvr.pipeline.upkeep.show:show",
    "explain": "ndvr.pipeline.upkeep.maintenance:explain",
    "remove": "ndvr.pipeline.upkeep.maintenance:remove",
    "fsck": "ndvr.pipeline.upkeep.maintenance:fsck",
    "gc": "ndvr.pipeline.upkeep.maintenance:gc",
    "train": "ndvr.pipeline.training.train:train",
    "fit_pca": "ndvr.pipeline.upkeep.fit_pca:fit_pca",
}

__all__ = [  # spelled out, as type checkers read it
    "Index",
    "Library",
    "__version__",
    "benchmarks",
    "common",
    "compare",
    "compare_scores",
    "decide",
    "dedupe",
    "evaluate",
    "explain",
    "extract",
    "fit_pca",
    "fsck",
    "gc",
    "import_features",
    "index",
    "make_estimate",
    "models",
    "operators",
    "pipeline",
    "remove",
    "rerank",
    "search",
    "search_both",
    "show",
    "similarity",
    "train",
    "write_found_page",
]


if not TYPE_CHECKING:  # hidden from type checkers, to which every name would exist otherwise

    def __getattr__(name: str) -> Any:
        """Import what `name` stands for, once."""
        if name in _MODULES:
            return importlib.import_module(f"ndvr.{name}")
        if name not in _FUNCTIONS:
            raise AttributeError(f"ndvr has no {name!r}; dir(ndvr) lists what it has")
        module, function = _FUNCTIONS[name].split(":")
        globals()[name] = getattr(importlib.import_module(module), function)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)
