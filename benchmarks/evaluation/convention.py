"""How a benchmark's numbers were computed by those who published them, as a few switches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Convention:
    """One published way to evaluate. Each dataset's file has a table of them; the first one is the default.

    The defaults here are what we think right; a convention differs only where its authors' script does.
    """

    says: str  # what a reader must know to compare numbers
    labels: tuple[str, ...] = ()  # label files of the authors, tried before the dataset's own (FIVR)
    # The query among its own right videos, though it is never ranked: taken out; kept where it is listed; or put there.
    self_right: Literal["removed", "kept", "added"] = "removed"
    # A query that an id list says is lost: evaluated all the same (its features may exist), or skipped.
    lost_query: Literal["evaluated", "skipped"] = "evaluated"
    no_right_video: Literal["skipped", "perfect"] = "skipped"  # what such a query scores
    # Where the precision-recall curve puts videos without a score: at this score, or None for behind all others.
    unscored_at: float | None = None
    never_ranked: frozenset[str] = frozenset()  # files left out of the ranking, but not of the right videos
