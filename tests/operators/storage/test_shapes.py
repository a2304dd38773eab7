"""What JSON from a file says is checked against what its reader needs."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from ndvr.operators.storage.sealed import Damaged
from ndvr.operators.storage.shapes import shaped


@dataclass
class Part:
    name: str
    rows: int = 0


@dataclass
class Whole:
    parts: list[Part]
    share: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    rest: Any = None


def test_what_fits_is_returned_as_it_was_also_with_keys_of_a_later_version():
    value = {"parts": [{"name": "a", "new": 1}], "share": 1, "counts": {"x": 2}, "later": [None]}
    assert shaped(value, Whole, "w.json") is value


@pytest.mark.parametrize(
    "text, why",
    [
        ("[]", "it is a list, not an object"),
        ("NaN", "it is nan, not an object"),
        ("{}", "it does not say its 'parts'"),
        ('{"parts": {}}', "its 'parts': an object, not a list"),
        ('{"parts": [3]}', "its 'parts': it is 3, not an object"),
        ('{"parts": [{"rows": 1}]}', "its 'parts': it does not say its 'name'"),
        ('{"parts": [{"name": null}]}', "its 'name': None, not text"),
        ('{"parts": [{"name": "a", "rows": true}]}', "its 'rows': True, not a whole number"),
        ('{"parts": [{"name": "a", "rows": 1.5}]}', "its 'rows': 1.5, not a whole number"),
        ('{"parts": [{"name": "a", "rows": 1%s}]}' % ("0" * 400), "its 'rows': 10+ [.]{3}, not a whole number"),
        ('{"parts": [], "share": NaN}', "its 'share': nan, not"),
        ('{"parts": [], "share": -Infinity}', "its 'share': -inf, not"),
        ('{"parts": [], "counts": {"x": "many"}}', "its 'counts': 'many', not a whole number"),
    ],
)
def test_what_does_not_fit_is_named_with_its_file_its_key_and_what_to_do(text, why):
    with pytest.raises(Damaged, match=rf"w.json is damaged \(.*{why}.*\); make it again"):
        shaped(json.loads(text), Whole, "w.json", remedy="make it again")


def test_a_shape_may_be_a_dict_with_keys_that_may_be_missing():
    shape, optional = {"top": int | None}, {"files": dict[str, str]}
    assert shaped({"top": None}, shape, "w.json", optional=optional)
    with pytest.raises(Damaged, match="its 'files': 1, not text"):
        shaped({"top": 1, "files": {"a": 1}}, shape, "w.json", optional=optional)
