"""Results of one folder that were made in different ways, and so may not be compared."""

from collections.abc import Iterable

from vertseg import __version__
from vertseg.predict.result import Result

_MOST_NAMED = 5


def unlike_origins(results: Iterable[Result]) -> list[str]:
    """Sentences about results made by another version, model or decoding than most of them.

    Failures do not count. Among equally many, this version's are those that others are unlike.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for result in results:
        if result.error is None:
            groups.setdefault(_origin(result), []).append(result.scan)
    if len(groups) < 2:
        return []
    usual = max(groups, key=lambda origin: (len(groups[origin]), origin[0] == _by(__version__)))
    sentences = []
    for origin, scans in sorted(groups.items()):
        if differences := [
            f"{own}, not {other}" for own, other in zip(origin, usual, strict=True) if own != other
        ]:
            count = f"{len(scans)} of {sum(map(len, groups.values()))} scans"
            sentences.append(f"{count} were predicted {'; '.join(differences)}: {_named(scans)}.")
    return [*sentences, "Compare their measures with care, or predict them again (--force)."]


def _origin(result: Result) -> tuple[str, ...]:
    """How a result was made, in words: version, model, decoding, outlines."""
    name, checksum = (result.model.get(key) or "" for key in ("name", "sha256"))
    stated = f"{name} ({checksum[:8]})" if checksum else name or "that is not stated"
    return (
        _by(result.version),
        f"with the model {stated}",
        f"with the decoding {result.decoding or 'that is not stated'}",
        f"with outlines of the {result.outlines}",
    )


def _by(version: str | None) -> str:
    return f"by vertseg {version or 'of a version that is not stated'}"


def _named(scans: list[str]) -> str:
    more = len(scans) - _MOST_NAMED
    return ", ".join(scans[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
