"""What is installed beside the project: every version has an upper bound, and one that was tested."""

import configparser

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import ROOT

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
LISTED = [SETUP["options"]["install_requires"], *SETUP["options.extras_require"].values()]
REQUIRED = sorted({line for text in LISTED for line in text.splitlines() if line and not line.startswith("#")})
PINS = {
    canonicalize_name(name): version
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
    for name, version in [line.split("==")]
}


@pytest.mark.parametrize("line", REQUIRED)
def test_every_requirement_has_an_upper_bound_and_a_tested_version_within(line):
    requirement = Requirement(line)
    assert {each.operator for each in requirement.specifier} >= {">=", "<"}
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_nothing_of_the_machine_that_wrote_them_is_in_the_constraints():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "/" not in text.replace("https://", "") and "@" not in text and "--" not in text
