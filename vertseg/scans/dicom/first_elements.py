"""The first elements of a DICOM file, read with the standard library alone.

Snakemake's side looks for scans without pydicom. The elements up to the image's position tell what
a file is. Sources: PS3.5, section 7.1 (data elements) and 7.5 (sequences); PS3.10, section 7.1
(file meta information).
"""

import struct
from dataclasses import dataclass
from pathlib import Path

MARK_START, MARK = 128, b"DICM"
SUFFIXES = (".dcm", ".ima")
"""Suffixes of files that count as DICOM whatever they hold."""

HEAD_BYTES = 1 << 16
"""Bytes at a file's start in which the elements are looked for."""

_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
_SOP_CLASSES = (0x00020002, 0x00080016)
_TRANSFER_SYNTAX, _IMAGE_TYPE, _MODALITY = 0x00020010, 0x00080008, 0x00080060
_SERIES, _POSITION = 0x0020000E, 0x00200032
_WANTED = {*_SOP_CLASSES, _TRANSFER_SYNTAX, _IMAGE_TYPE, _MODALITY, _SERIES, _POSITION}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
"""Value representations with a length of 32 bits."""

_IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_UNREAD = ("1.2.840.10008.1.2.1.99",)
"""Transfer syntaxes whose elements are compressed."""

_NO_IMAGES = (
    "1.2.840.10008.1.3.10",
    *(f"1.2.840.10008.5.1.4.1.1.{kind}." for kind in ("9", "11", "66", "88", "104", "481")),
)
"""First parts of SOP classes without a scan's images: directories of discs, waveforms, presentation
states, segmentations, reports, documents, and objects of radiotherapy."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7."


@dataclass(frozen=True)
class FirstElements:
    """Values of a DICOM file's first elements; "" for those absent or unread.

    Attributes:
        sop_class: UID of the kind of object.
        image_type: values, separated by backslashes.
        modality: such as CT.
        series: UID of the series.
        position: of the image in the patient.
    """

    sop_class: str = ""
    image_type: str = ""
    modality: str = ""
    series: str = ""
    position: str = ""

    @property
    def is_image(self) -> bool:
        """Whether the file may be an image of a scan."""
        return not f"{self.sop_class}.".startswith(_NO_IMAGES)

    @property
    def unusable_reason(self) -> str | None:
        """Reason for which an image is not of a CT volume, as far as these elements tell."""
        if self.modality not in ("", "CT"):
            return f"modality {self.modality}, not CT"
        if "LOCALIZER" in self.image_type.split("\\"):
            return "localisers"
        captured = f"{self.sop_class}.".startswith(_SECONDARY_CAPTURE) and not self.position
        return "secondary captures" if captured else None


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file's first bytes have DICOM's mark, or are a data set's first element."""
    return has_mark(start) or start[:2] in _FIRST_GROUPS


def has_mark(start: bytes) -> bool:
    """Whether a file's first bytes have DICOM's mark."""
    return start[MARK_START : MARK_START + len(MARK)] == MARK


def file_elements(path: Path) -> FirstElements | None:
    """The first elements of a file, or None if it is not DICOM.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(MARK_START + len(MARK))
        if not looks_like_dicom(start):
            return None
        return first_elements(start + file.read(HEAD_BYTES - len(start)))


def first_elements(head: bytes) -> FirstElements | None:
    """The first elements of a file that begins with `head`, or None if it is not DICOM.

    A file with DICOM's mark is DICOM; one without must state its SOP class.
    """
    if not looks_like_dicom(head):
        return None
    at = MARK_START + len(MARK) if has_mark(head) else 0
    meta, at = _elements(head, at, "<", True, 0x0002FFFF) if _is_meta(head, at) else ({}, at)
    syntax = _text(meta, _TRANSFER_SYNTAX)
    explicit = head[at + 4 : at + 6].isupper() if not syntax else syntax != _IMPLICIT
    order = ">" if syntax == _BIG_ENDIAN else "<"
    rest = {} if syntax in _UNREAD else _elements(head, at, order, explicit, _POSITION)[0]
    found = {**meta, **rest}
    sop_class = next(filter(None, (_text(found, tag) for tag in _SOP_CLASSES)), "")
    if not sop_class and not has_mark(head):
        return None
    others = (_IMAGE_TYPE, _MODALITY, _SERIES, _POSITION)
    return FirstElements(sop_class, *(_text(found, tag) for tag in others))


def _is_meta(head: bytes, at: int) -> bool:
    return head[at : at + 2] == b"\x02\x00"


def _elements(
    head: bytes, at: int, order: str, explicit: bool, last: int
) -> tuple[dict[int, bytes], int]:
    """The wanted elements outside sequences up to the tag `last`, and the place of the next."""
    found: dict[int, bytes] = {}
    depth = 0
    while at + 12 <= len(head):
        tag, kind, length, body = _element(head, at, order, explicit)
        if tag in (_ITEM_END, _SEQUENCE_END):
            depth -= 1
            length = 0
        elif length == _UNDEFINED:
            if kind == b"UN":  # Its items may be encoded in another way.
                break
            depth += 1
            length = 0
        elif depth == 0:
            if tag > last:
                break
            if tag in _WANTED:
                found[tag] = head[body : body + length]
        if depth < 0:
            break
        at = body + length
    return found, at


def _element(head: bytes, at: int, order: str, explicit: bool) -> tuple[int, bytes, int, int]:
    """Tag, value representation, length and place of the value of the element at a place."""
    group, element = struct.unpack_from(f"{order}HH", head, at)
    kind = head[at + 4 : at + 6]
    if not explicit or group == 0xFFFE:
        return group << 16 | element, b"", *struct.unpack_from(f"{order}I", head, at + 4), at + 8
    if kind in _LONG:
        return group << 16 | element, kind, *struct.unpack_from(f"{order}I", head, at + 8), at + 12
    return group << 16 | element, kind, *struct.unpack_from(f"{order}H", head, at + 6), at + 8


def _text(found: dict[int, bytes], tag: int) -> str:
    return found.get(tag, b"").decode("ascii", "replace").strip("\0 ")
