"""Imports without a library's optional parts."""

import sys

import pytest

from vertseg.core.imports import left_out


def test_a_module_is_absent_within_the_block_alone() -> None:
    sys.modules.pop("wave", None)
    with left_out("wave"), pytest.raises(ImportError):
        import wave
    import wave

    assert wave.__name__ == "wave"


def test_a_module_that_was_loaded_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    with left_out("json"):
        assert sys.modules["json"] is json
    assert sys.modules["json"] is json
