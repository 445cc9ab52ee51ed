"""Zstandard, loaded where it is asked for."""

from typing import Final

from backports.zstd import CompressionParameter, ZstdCompressor

from nms.warehouse.format import Packer

LEVEL: Final = 3


def open_packer() -> Packer:
    """Packs into one frame with a checksum."""
    options: dict[int, int] = {CompressionParameter.compression_level: LEVEL, CompressionParameter.checksum_flag: 1}
    return ZstdCompressor(options=options)
