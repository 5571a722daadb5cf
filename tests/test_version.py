"""The version, the changelog and the citation agree."""

import re
from itertools import pairwise

import yaml
from conftest import ROOT
from packaging.version import Version

from vertseg import __version__

HEADINGS = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
RELEASES = [
    re.fullmatch(r"(\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)", heading)
    for heading in HEADINGS
    if heading != "Unreleased"
]


def test_the_changelog_lists_releases_with_dates_the_newest_first() -> None:
    assert all(RELEASES)
    assert "Unreleased" not in HEADINGS[1:]
    assert all(Version(newer[1]) > Version(older[1]) for newer, older in pairwise(RELEASES))
    assert all(newer[2] >= older[2] for newer, older in pairwise(RELEASES))


def test_version_changelog_and_citation_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    stated = citation["version"], citation["date-released"].isoformat()
    assert stated == RELEASES[0].groups()
    if HEADINGS[0] != "Unreleased":
        assert __version__ == RELEASES[0][1]
    else:
        # Results of the code between two releases are told from those of either.
        assert re.fullmatch(r"\d+\.\d+\.\d+\.dev0", __version__)
        assert Version(__version__) > Version(RELEASES[0][1])
