"""Zstandard, loaded where it is asked for."""

from pathlib import Path
from typing import IO, Final, cast

from backports.zstd import CompressionParameter, ZstdCompressor, ZstdError, ZstdFile

from nms.warehouse.format import Packer

LEVEL: Final = 3


def open_packer() -> Packer:
    """Packs into one frame with a checksum."""
    options: dict[int, int] = {CompressionParameter.compression_level: LEVEL, CompressionParameter.checksum_flag: 1}
    return ZstdCompressor(options=options)


class _Unpacked(ZstdFile):
    """What is no Zstandard is told as what ends too early."""

    def read(self, size: int | None = -1) -> bytes:
        """Some of the content; raises EOFError."""
        try:
            return super().read(size)
        except ZstdError as error:
            raise EOFError(str(error)) from error


def open_unpacked(path: Path) -> IO[bytes]:
    """The content of a file."""
    return cast(IO[bytes], _Unpacked(path))
