"""Snakemake's requests to conda, answered with py-rattler: the solver and installer of pixi.

Stands for `conda` where there is none: `info --json`, `--version`, `config --get`, `clean`
and `env create --file FILE --prefix FOLDER` (channels, conda packages and a pip section).
CONDA_CHANNEL_ALIAS is the address that the channels' names are below, as conda's own setting.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from rattler import (
    Channel,
    ChannelConfig,
    ChannelPriority,
    Gateway,
    MatchSpec,
    Subdir,
    VirtualPackage,
    install,
    solve,
)

VERSION = "25.1.0"


async def install_packages(prefix: Path, channels: list[str], specs: list[str]) -> None:
    """Solve the specifications and install what they need."""
    config = ChannelConfig(channel_alias=os.environ["CONDA_CHANNEL_ALIAS"].rstrip("/") + "/")
    records = await solve(
        [Channel(channel, config) for channel in channels],
        [MatchSpec(spec) for spec in specs],
        gateway=Gateway(),
        platforms=[Subdir.current(), Subdir("noarch")],
        virtual_packages=VirtualPackage.detect(),
        channel_priority=ChannelPriority.Strict,
    )
    await install(records, prefix, show_progress=False, execute_link_scripts=False)


def create(file: Path, prefix: Path) -> None:
    """Create the environment that a file describes, its pip section as conda runs it."""
    described = yaml.safe_load(file.read_text())
    specs = [entry for entry in described["dependencies"] if isinstance(entry, str)]
    pip = [pin for entry in described["dependencies"] if isinstance(entry, dict)
           for pin in entry["pip"]]  # fmt: skip
    asyncio.run(install_packages(prefix, described["channels"], specs))
    with tempfile.NamedTemporaryFile("w", suffix=".requirements.txt") as requirements:
        requirements.write("\n".join(pip))
        requirements.flush()
        python = [str(prefix / "bin/python"), "-m", "pip", "install", "--quiet", "--upgrade"]
        subprocess.check_call(
            [*python, "--exists-action=b", "--requirement", requirements.name],
            env={**os.environ, "PYTHONNOUSERSITE": "1"},
        )


def main(arguments: list[str]) -> None:
    """Answer one call."""
    if arguments == ["--version"]:
        print(f"conda {VERSION}")
    elif arguments == ["info", "--json"]:
        base = Path(__file__).resolve().parent
        print(json.dumps({"conda_prefix": str(base), "platform": str(Subdir.current()),
                          "conda_version": VERSION}))  # fmt: skip
    elif arguments[:2] == ["config", "--get"]:
        print(json.dumps({"get": {arguments[2]: "strict"}}))
    elif arguments[:1] == ["clean"]:
        pass  # packages are linked from rattler's own cache
    elif arguments[:2] == ["env", "create"]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--file", type=Path, required=True)
        parser.add_argument("--prefix", type=Path, required=True)
        for flag in ("--quiet", "--no-default-packages"):
            parser.add_argument(flag, action="store_true")
        options = parser.parse_args(arguments[2:])
        create(options.file, options.prefix)
    else:
        sys.exit(f"This stand-in for conda does not know: conda {' '.join(arguments)}")


if __name__ == "__main__":
    main(sys.argv[1:])
