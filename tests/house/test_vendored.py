"""Vendored files are what their projects published: the checksums stand beside them."""

import gzip
import hashlib

from tests.house.tree import ROOT, refuse

SUMS = sorted(ROOT.glob("nms/**/SHA256SUMS"))


def faults(sums: str, contents: dict[str, bytes]) -> list[str]:
    """Each file whose content is not the listed one, and each that no line lists."""
    lines = [line.split() for line in sums.splitlines() if line and not line.startswith("#")]
    listed = {name: digest for digest, name in lines}
    wrong = [
        f"{name} is not the published file"
        for name, digest in listed.items()
        if hashlib.sha256(contents.get(name, b"")).hexdigest() != digest
    ]
    return wrong + [f"{name} has no checksum" for name in sorted(contents.keys() - listed.keys())]


def test_every_vendored_file_has_its_published_checksum() -> None:
    assert SUMS
    for sums in SUMS:
        packed = {path.stem: gzip.decompress(path.read_bytes()) for path in sums.parent.glob("*.gz")}
        refuse(f"{sums.parent}: {fault}" for fault in faults(sums.read_text(), packed))


def test_a_planted_change_is_found() -> None:
    sums = f"# a comment\n{hashlib.sha256(b'one').hexdigest()}  a.js\n{hashlib.sha256(b'two').hexdigest()}  b.js\n"
    assert faults(sums, {"a.js": b"one", "b.js": b"two"}) == []
    assert faults(sums, {"a.js": b"One", "c.js": b""}) == [
        "a.js is not the published file",
        "b.js is not the published file",
        "c.js has no checksum",
    ]
