"""Repeat the versions of requirements*.txt in all environments, with those of what they need.

    python envs/pin.py

The first part of each list is written by hand. The second, and the pip sections of envs/*.yaml but
for the names in their first part, follow from it and from what is installed in the environment of
the Python that runs this: install the edited requirements first. nnU-Net and the documents have
environments of their own, whose Pythons pin their lists. envs/lock.py adds the hashes.
"""

import re
import sys
from collections.abc import Set
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ENVIRONMENTS = Path(__file__).parent
NEEDED = "# And what these need (envs/pin.py writes this part)."
PIN = re.compile(
    r"^(?P<indent>[ -]*)(?P<name>[\w.-]+)(?P<extras>\[[\w,]+\])?={2,3}(?P<version>.+)$"
)
PINNED_BY_TORCH = re.compile(r"^(nvidia|cuda)-|^triton$")


def normal(name: str) -> str:
    """A package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needs(name: str, extras: tuple[str, ...] = ()) -> set[str]:
    """All packages that an installed one needs on this platform, but for those that torch pins."""
    found: set[str] = set()
    waiting = [(name, extras)]
    while waiting:
        package, wanted = waiting.pop()
        for text in distribution(package).requires or []:
            requirement = Requirement(text)
            marker, needed = requirement.marker, normal(requirement.name)
            applies = marker is None or any(marker.evaluate({"extra": e}) for e in ("", *wanted))
            if applies and needed not in found and not PINNED_BY_TORCH.search(needed):
                found.add(needed)
                waiting.append((needed, tuple(requirement.extras)))
    return found


def included(requirements: Path) -> set[str]:
    """Names that the lists included in a list pin."""
    names: set[str] = set()
    for line in requirements.read_text().splitlines():
        if line.startswith("-r "):
            other = requirements.with_name(line.removeprefix("-r "))
            pins = filter(None, map(PIN.match, other.read_text().splitlines()))
            names |= {normal(pin["name"]) for pin in pins} | included(other)
    return names


def pinned(lines: list[str], elsewhere: Set[str] = frozenset()) -> list[str]:
    """Lines of pins, brought up to date and completed but for names pinned elsewhere.

    Raises:
        PackageNotFoundError: one of the packages is not installed here.
    """
    end = next((i for i, line in enumerate(lines) if line.strip() == NEEDED), len(lines))
    pins = [match for line in lines[:end] if (match := PIN.match(line))]
    names = {normal(pin["name"]) for pin in pins}
    needed = set().union(
        *(needs(pin["name"], tuple((pin["extras"] or "[]")[1:-1].split(","))) for pin in pins)
    )
    indent = pins[0]["indent"]
    extra = [
        f"{indent}{name}=={distribution(name).version}"
        for name in sorted(needed - names - elsewhere)
    ]
    return [*lines[:end], *([indent.partition("-")[0] + NEEDED, *extra] if extra else [])]


def write_pins(requirements: Path, environments: list[Path]) -> None:
    """Rewrite a list of requirements, then the environments that repeat it.

    Raises:
        PackageNotFoundError: one of the packages is not installed here.
    """
    own = pinned(requirements.read_text().splitlines(), included(requirements))
    requirements.write_text("\n".join(own) + "\n")
    version = {normal(pin["name"]): pin["version"] for line in own if (pin := PIN.match(line))}
    for path in environments:
        lines = path.read_text().splitlines()
        start = lines.index("  - pip:") + 1
        lines[start:] = pinned(lines[start:])
        for index, line in enumerate(lines[start:], start):
            if pin := PIN.match(line):
                public = pin["version"].partition("+")
                new = version[normal(pin["name"])] + "".join(public[1:])
                lines[index] = line.removesuffix(pin["version"]) + new
        path.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Rewrite what is installed here."""
    nnunet = ENVIRONMENTS / "nnunet.yaml"
    others = sorted(set(ENVIRONMENTS.glob("*.yaml")) - {nnunet})
    for name, environments in (
        ("requirements.txt", others),
        ("requirements-cluster.txt", []),
        ("requirements-dev.txt", []),
        ("requirements-docs.txt", []),
        ("requirements-nnunet.txt", [nnunet]),
    ):
        try:
            write_pins(ENVIRONMENTS.parent / name, environments)
        except PackageNotFoundError as error:
            print(f"{name}: left as it is, {error} here.", file=sys.stderr)


if __name__ == "__main__":
    main()
