"""Images of a data set: decoded once to see that they are whole, and stored upright, grey or RGB, with 8 bits."""

import base64
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from service.datasets.faults import Refused, refused

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM")
MAX_PIXELS = 1 << 24
MAX_SHOWN_BYTES = 1 << 18
MAX_DECODED_OVER_EXPANDED = 8
"""Photographs unpack to about ten times their files; all of them together may take so many times the limit on files."""
GREY_MODES = frozenset({"1", "L", "LA"})
MODES = GREY_MODES | {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
STORED_MODES = frozenset({"L", "RGB"})
ORIENTATION = 0x0112
UPRIGHT, LYING = 1, range(5, 9)
"""Values of the orientation in EXIF: as stored; and those that swap width and height."""


@dataclass(frozen=True)
class Picture:
    """An image as it is stored. Sizes in pixels; channels: 1 for grey, 3 for RGB."""

    content: bytes
    width: int
    height: int
    channels: int


class NotAPicture(Exception):
    """What is wrong with an image: a code of DATASET_HINTS and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


@dataclass
class Pictures:
    """Checks the images of one reading of a data set."""

    max_bytes: int
    """Of one image as a file."""
    max_decoded_bytes: int
    """Of all images, unpacked."""
    is_repeated: bool = False
    """True where an earlier reading has found all of them whole."""
    decoded_bytes: int = 0

    def take(self, content: bytes) -> Picture:
        """Return the image as it is stored; in a first reading with its content as it came.

        Raises:
            NotAPicture: it cannot be read, or not be kept.
            Refused: all images together are too large.
        """
        if len(content) > self.max_bytes:
            raise NotAPicture("image_too_large", f"the file has {len(content)} bytes, {self.max_bytes} are allowed")
        try:
            image = self._opened(content)
            orientation = image.getexif().get(ORIENTATION, UPRIGHT)
            is_stored = image.mode in STORED_MODES and orientation == UPRIGHT
            stored = content if is_stored or not self.is_repeated else _rewritten(image)
        except (NotAPicture, Refused, MemoryError):
            raise
        except UnidentifiedImageError:
            raise NotAPicture("not_an_image", "this is no PNG, JPEG, WebP, BMP or PPM image") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise NotAPicture("image_too_large", str(error)) from error
        except Exception as error:  # a decoder that is fed garbage may raise anything
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise NotAPicture("broken_image", f"the image cannot be decoded: {reason}"[:500]) from error
        width, height = image.size if orientation not in LYING else image.size[::-1]
        return Picture(stored, width, height, 1 if image.mode in GREY_MODES else 3)

    def _opened(self, content: bytes) -> Image.Image:
        """The image, decoded unless that was done before. Sizes are judged by its header first."""
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise NotAPicture("image_too_large", f"it has {image.width} x {image.height} pixels")
        if image.mode not in MODES:
            raise NotAPicture("unsupported_image", f"its pixels are of mode {image.mode}")
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise NotAPicture("unsupported_image", f"it has {frames} frames")
        self.decoded_bytes += pixels * len(image.getbands())
        if self.decoded_bytes > self.max_decoded_bytes:
            raise refused("too_large_expanded", f"the images unpack to more than {self.max_decoded_bytes} bytes")
        if not self.is_repeated:
            image.load()
        return image


def _rewritten(image: Image.Image) -> bytes:
    """The same picture as a PNG, upright, grey or RGB; transparency is dropped."""
    mode = "L" if image.mode in GREY_MODES else "RGB"
    upright = ImageOps.exif_transpose(image)
    if "transparency" in upright.info:
        upright = upright.convert("RGBA")
    file = io.BytesIO()
    plain = upright.convert(mode)
    plain.info.clear()
    plain.save(file, "PNG")
    return file.getvalue()


def shown_image(content: bytes) -> dict[str, Any]:
    """A stored image as JSON: what it is, and its bytes where they are few."""
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    data = base64.b64encode(content).decode() if len(content) <= MAX_SHOWN_BYTES else None
    return {
        "media_type": image.get_format_mimetype(),
        "width": image.width,
        "height": image.height,
        "bytes": len(content),
        "base64": data,
    }
