"""Download a large file: resumed, retried, from the first mirror that serves it.

`requests` and `urllib3.Retry` connect, back off and honour Retry-After. This module adds the
continuation of partial files (RFC 9110: Range, If-Range, Content-Range), which never joins parts
of two versions of a file.
"""

import errno
import fcntl
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.util import Retry

from vertseg.core.errors import UserError
from vertseg.core.files import write_json
from vertseg.core.logs import logger
from vertseg.core.progress import byte_progress, gigabytes, require_space

CHUNK = 1 << 17
PASSING_STATUS = (408, 429, 500, 502, 503, 504)
"""HTTP states of servers that are worth asking again."""


@dataclass(frozen=True)
class Patience:
    """Limits on the attempts and pauses of a download from one mirror.

    Attributes:
        retries: further attempts in a row that bring nothing new before the mirror is given up.
        backoff_s: the second pause between attempts; pauses double from there.
        longest_pause_s: longest pause that the server did not ask for.
        longest_wait_s: longest pause that the server asked for (Retry-After).
        timeout_s: silence after which a connection counts as dropped.
    """

    retries: int = 6
    backoff_s: float = 2.0
    longest_pause_s: float = 120.0
    longest_wait_s: int = 3600
    timeout_s: float = 60.0


@dataclass(frozen=True)
class Version:
    """The version of a file as its server states it; kept beside the partial file."""

    url: str
    etag: str | None
    last_modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """The value for If-Range, which takes no weak ETag."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


class MirrorError(Exception):
    """A mirror does not serve the file; the next one may."""


class _DroppedError(Exception):
    """The connection broke in the middle of the file."""


class _LoggedRetry(Retry):
    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        reason = f"HTTP {response.status}" if response else "no connection"
        asked = self.get_retry_after(response) if response else None
        pause = self.get_backoff_time() if asked is None else asked
        logger.warning("%s; next attempt in %.0f s.", reason, pause)
        super().sleep(response)


def fetch(
    urls: Iterable[str],
    target: Path,
    check: Callable[[Path], None],
    patience: Patience | None = None,
    expected_bytes: int = 0,
    copies: float = 1.0,
) -> str:
    """Download a file from the first mirror that serves it whole.

    Received bytes wait in `{target}.{mirror}.part` (those of two mirrors never meet) and survive a
    kill; the same call goes on from there if the server still has the same version and supports
    ranges, and starts anew otherwise.

    Args:
        urls: the mirrors, in order of preference.
        target: where the file goes once it is complete and checked.
        check: check of the complete file; raises `UserError` if it is not as it should be.
        patience: limits on the attempts with each mirror.
        expected_bytes: the size to assume where the server states none, for the room needed.
        copies: room needed, as a multiple of the file's size (2: it will be unpacked beside).

    Returns:
        The URL that served the file.

    Raises:
        UserError: no mirror serves the file (each answer is listed), the disk is full, or
            another process is downloading it.
    """
    patience = patience or Patience()
    target.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    with _session(patience) as session:
        for url in urls:
            part = part_path(target, url)
            try:
                _fetch_part(session, url, part, patience, expected_bytes, copies)
                _check(part, check)
            except MirrorError as error:
                problems.append(f"{url}: {error}")
                logger.warning("%s", problems[-1])
                continue
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise UserError(
                    f"{target}: the disk is full. Free some space and start again: the download "
                    f"goes on from the {gigabytes(_size(part))} that have arrived."
                ) from error
            part.replace(target)
            for leftover in target.parent.glob(f"{target.name}.*.part*"):
                leftover.unlink()
            logger.info("%s -> %s (%s)", url, target, gigabytes(target.stat().st_size))
            return url
    listed = "\n  ".join(problems)
    raise UserError(
        f"{target}: no mirror serves this file:\n  {listed}\nStart again later (a partial "
        "download goes on where it stopped), name other mirrors in data.urls, or set data.root "
        "to a copy of the data."
    )


def part_path(target: Path, url: str) -> Path:
    """Path of the bytes received from a mirror until they are complete."""
    mirror = hashlib.sha256(url.encode()).hexdigest()[:8]
    return target.with_name(f"{target.name}.{mirror}.part")


def _session(patience: Patience) -> requests.Session:
    retry = _LoggedRetry(
        total=patience.retries,
        status_forcelist=PASSING_STATUS,
        allowed_methods=["GET"],
        backoff_factor=patience.backoff_s,
        backoff_max=patience.longest_pause_s,
        retry_after_max=patience.longest_wait_s,
        raise_on_status=False,
    )
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", HTTPAdapter(max_retries=retry))
    # A compressed transfer would make offsets in the file differ from offsets in the stream.
    session.headers["Accept-Encoding"] = "identity"
    return session


def _fetch_part(
    session: requests.Session,
    url: str,
    part: Path,
    patience: Patience,
    expected_bytes: int,
    copies: float,
) -> None:
    failures = furthest = 0
    while not _complete(part):
        try:
            with _open(session, url, part, patience.timeout_s) as response:
                known = _known_version(part) if response.status_code == 206 else None
                version = known or _version(url, response)
                total = version.total or expected_bytes
                missing = max(total - _size(part), 0)
                require_space(part.parent, missing + round((copies - 1) * total), url)
                write_json(_version_path(part), asdict(version))
                _receive(response, part, version.total)
            if version.total is None:
                return
        except _DroppedError as error:
            failures = 0 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures > patience.retries:
                raise MirrorError(f"{error}; given up after {failures} attempts") from error
            pause = min(patience.backoff_s * 2**failures, patience.longest_pause_s)
            logger.warning("%s: %s; going on in %.0f s.", url, error, pause)
            time.sleep(pause)


def _open(session: requests.Session, url: str, part: Path, timeout_s: float) -> requests.Response:
    """Ask for the bytes that are missing; the partial file is removed if they do not fit it."""
    known = _known_version(part)
    offset = _size(part)
    if known is None or known.total is None:
        _discard(part)
        offset = 0
    headers = {}
    if known and offset:
        headers["Range"] = f"bytes={offset}-"
        if known.validator:
            headers["If-Range"] = known.validator
    try:
        response = session.get(url, headers=headers, stream=True, timeout=timeout_s)
    except requests.RequestException as error:
        raise MirrorError(f"no answer ({error})") from error
    if not offset or response.status_code not in (200, 206, 416):
        if response.status_code != 200:
            response.close()
            raise MirrorError(f"HTTP {response.status_code} {response.reason}")
        return response
    if response.status_code == 206 and _continues(response, known, offset):
        logger.info("%s: going on from %s.", url, gigabytes(offset))
        return response
    logger.warning("%s: the file changed or cannot be resumed; starting anew.", url)
    _discard(part)
    if response.status_code == 200:
        return response
    response.close()
    return _open(session, url, part, timeout_s)


def _continues(response: requests.Response, known: Version | None, offset: int) -> bool:
    if known is None:
        return False
    headers = response.headers
    return (
        re.fullmatch(rf"bytes {offset}-\d+/{known.total}", headers.get("Content-Range", ""))
        is not None
        and headers.get("ETag") in (None, known.etag)
        and headers.get("Last-Modified") in (None, known.last_modified)
    )


def _receive(response: requests.Response, part: Path, total: int | None) -> None:
    resumed = response.status_code == 206
    done = _size(part) if resumed else 0
    name = part.name.rsplit(".", 2)[0]
    try:
        with part.open("ab") as file, byte_progress(name, total, done) as move:
            _claim(file, part)
            if not resumed:
                file.truncate(0)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                move(len(chunk))
    except requests.RequestException as error:
        raise _DroppedError(f"the connection broke ({error})") from error
    if total is not None and _size(part) != total:
        received = _size(part)
        if received > total:
            _discard(part)
        raise _DroppedError(f"received {received} of {total} bytes")


def _claim(file: BinaryIO, part: Path) -> None:
    """Become the only writer: a killed Snakemake can leave its download running."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"{part}: another process is downloading this file. Wait for it or stop it, then "
            "start again."
        ) from error


def _check(part: Path, check: Callable[[Path], None]) -> None:
    try:
        check(part)
    except UserError as error:
        _discard(part)
        raise MirrorError(str(error)) from error


def _complete(part: Path) -> bool:
    known = _known_version(part)
    return known is not None and known.total is not None and _size(part) == known.total


def _version(url: str, response: requests.Response) -> Version:
    headers = response.headers
    length = headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    return Version(url, headers.get("ETag"), headers.get("Last-Modified"), total)


def _version_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _known_version(part: Path) -> Version | None:
    try:
        return Version(**json.loads(_version_path(part).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_path(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
