"""From an image file of any size and mode to uint8 pixels of one shape."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import check_sha256, open_regular
from ptq_pipeline.images.source import UnreadableImage

if TYPE_CHECKING:
    from PIL import Image

MODES = {1: "L", 3: "RGB"}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
FITS, GREY = ("crop", "letterbox", "stretch"), 114
DEEPEST = 65535  # the largest value of 16 bits
# Of 10, 12, 14 and 16 bits.
WHITES = (1023, 4095, 16383, DEEPEST)
# Pillow goes by the content: left to itself it would start Ghostscript for an EPS named .png.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


@dataclass(frozen=True)
class Decoding:
    """How image files become pixels; it is part of the preprocessing, so declare what training did.

    An image is turned upright by its EXIF orientation, brought to 8 bits, converted to one or three
    channels (transparency is dropped), and brought to its size.

    Attributes:
        shape: ``(C, H, W)`` of every decoded image.
        resize_size: length of the shorter side before the crop, as in torchvision's presets; None
            makes the image just fit the crop.
        interpolation: one of :data:`INTERPOLATIONS`.
        fit: ``crop`` takes the centre of the resized image, ``letterbox`` resizes the whole image
            and fills what is left with grey (114, as YOLO's authors do), ``stretch`` resizes both
            sides on their own.
        white: stored value that means white in files of more than 8 bits, such as 4095 or 65535;
            None refuses those files, because a wrong guess looks like a dark image.

    Raises:
        InputError: for a shape, size or interpolation that cannot be.
    """

    shape: tuple[int, int, int]
    resize_size: int | None = None
    interpolation: str = "bilinear"
    white: int | None = None
    fit: str = "crop"

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(
                f"an image source needs 'shape: [channels, height, width]', got {list(self.shape)}"
            )
        channels, height, width = self.shape
        if channels not in MODES:
            raise InputError(f"images can be decoded to 1 or 3 channels, not {channels}")
        if self.resize_size is not None and self.resize_size < max(height, width):
            raise InputError(
                f"image source: 'resize_size' {self.resize_size} is smaller than the crop of "
                f"{height} x {width}; give the shorter side before the crop"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f"image source: interpolation '{self.interpolation}' is unknown; choose one of "
                f"{', '.join(INTERPOLATIONS)}"
            )
        if self.fit not in FITS:
            raise InputError(
                f"image source: fit '{self.fit}' is unknown; choose one of {', '.join(FITS)}"
            )
        if self.fit != "crop" and self.resize_size is not None:
            raise InputError(
                f"image source: 'resize_size' is for a crop, and fit is '{self.fit}'; leave one out"
            )
        if self.white is not None and not 255 < self.white <= DEEPEST:
            raise InputError(
                f"image source: 'white' must lie between 256 and {DEEPEST}, got {self.white}"
            )

    def placed(self, width: float, height: float) -> tuple[float, float, float, float]:
        """Return where an image of a size lies in the decoded one: x and y scale, left and top.

        >>> Decoding((3, 240, 320), fit="letterbox").placed(640, 320)
        (0.5, 0.5, 0.0, 40.0)
        """
        _, rows, columns = self.shape
        if self.fit == "stretch":
            return columns / width, rows / height, 0.0, 0.0
        scale = min(columns / width, rows / height)
        sides = max(round(width * scale), 1), max(round(height * scale), 1)
        left, top = float((columns - sides[0]) // 2), float((rows - sides[1]) // 2)
        return sides[0] / width, sides[1] / height, left, top

    def read(
        self, path: Path, sha256: str | None = None, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Return the pixels of one file, uint8 ``(C, H, W)``.

        Args:
            path: the file.
            sha256: declared hash.
            size: declared width and height of the upright image.

        Raises:
            UnreadableImage: naming the file that cannot be decoded, and why.
            InputError: the file has not the hash ``sha256`` that is declared of it.
        """
        try:
            handle = open_regular(path)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UnreadableImage(f"'{path}' cannot be opened ({why})") from error
        with handle:
            check_sha256(handle, path, sha256)
            return self._decoded(handle, path, size)

    def _decoded(self, handle: IO[bytes], path: Path, size: tuple[int, int] | None) -> np.ndarray:
        from PIL import Image, ImageOps

        try:
            with Image.open(handle, formats=FORMATS) as stored:
                # A JPEG of several pictures holds previews of the first.
                if getattr(stored, "is_animated", False) and stored.format != "MPO":
                    raise UnreadableImage(f"'{path}' holds several pictures; keep the one meant")
                shallow = self._in_8_bits(stored, path)
                upright = ImageOps.exif_transpose(shallow).convert(MODES[self.shape[0]])
                if size is not None and upright.size != size:
                    raise UnreadableImage(
                        f"'{path}' is {upright.width} x {upright.height} pixels large, and its "
                        f"annotations say {size[0]} x {size[1]}; boxes would not fit"
                    )
                pixels = np.asarray(self._sized(upright), np.uint8)
        except UnreadableImage:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = str(error).replace(repr(handle), "its content")
            raise UnreadableImage(f"'{path}' cannot be decoded ({reason})") from error
        return pixels[None] if self.shape[0] == 1 else pixels.transpose(2, 0, 1)

    def _in_8_bits(self, stored: "Image.Image", path: Path) -> "Image.Image":
        from PIL import Image

        # Pillow opens colour files of 16 bits as if they had 8; only their raw mode tells.
        raw = [str(tile) for tile in getattr(stored, "tile", [])]
        deep_grey = stored.mode.startswith("I")
        # With the order of bytes behind it: 16 bits for all colours together are ';16' alone.
        deep_colour = not deep_grey and any(re.search(";16[BLN]", tile) for tile in raw)
        if stored.mode == "F":
            raise UnreadableImage(f"'{path}' holds floating point pixels; convert it to 8 bits")
        if not deep_grey and not deep_colour:
            return stored
        if self.white is None:
            largest = int(np.asarray(stored).max(initial=0)) if deep_grey else DEEPEST
            white = next((each for each in WHITES if each >= largest), DEEPEST)
            found = f", and {largest} is its largest value" if deep_grey else ""
            raise UnreadableImage(
                f"'{path}' has more than 8 bits per channel (mode {stored.mode}){found}; give "
                "'white' of the image source, the stored value that means white, such as "
                f"{white}, or convert it to 8 bits"
            )
        if deep_colour:
            if self.white != DEEPEST:
                raise UnreadableImage(
                    f"'{path}' has 16 bits per colour, of which the upper 8 are read, so 'white' "
                    f"can only be {DEEPEST}; convert it to 8 bits"
                )
            return stored
        values = np.asarray(stored).astype(np.int64)
        if values.size and int(values.max()) > self.white:
            raise UnreadableImage(
                f"'{path}' holds the value {values.max()}, brighter than 'white' {self.white} of "
                "the image source; raise it"
            )
        if values.size and int(values.min()) < 0:
            raise UnreadableImage(
                f"'{path}' holds the value {values.min()}, darker than black; convert it to 8 bits"
            )
        scaled = Image.fromarray(np.rint(values * (255 / self.white)).astype(np.uint8))
        scaled.info["exif"] = stored.getexif().tobytes()
        return scaled

    def _sized(self, image: "Image.Image") -> "Image.Image":
        from PIL import Image, ImageOps

        _, height, width = self.shape
        resampling = Image.Resampling[self.interpolation.upper()]
        if self.fit == "stretch":
            return image.resize((width, height), resampling)
        if self.fit == "letterbox":
            across, down, left, top = self.placed(*image.size)
            sides = round(image.width * across), round(image.height * down)
            canvas = Image.new(
                image.mode, (width, height), GREY if image.mode == "L" else (GREY,) * 3
            )
            canvas.paste(image.resize(sides, resampling), (int(left), int(top)))
            return canvas
        if self.resize_size is None:
            return ImageOps.fit(image, (width, height), resampling)
        short, long = sorted(image.size)
        sides = (self.resize_size, int(self.resize_size * long / short))
        resized = image.resize(sides if image.width <= image.height else sides[::-1], resampling)
        left, top = (round((resized.width - width) / 2), round((resized.height - height) / 2))
        return resized.crop((left, top, left + width, top + height))
