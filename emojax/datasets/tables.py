"""Text as datasets hold it: in several encodings, in tables whose columns are found by name."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emojax.datasets.tree import DatasetError
from emojax.storage import parse_json

_C1 = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}  # cp1252 read as latin-1


def read_text(path: Path, *encodings: str) -> str:
    """The text of a file in UTF-8, UTF-16, or the first of other encodings that it can be; controls of C1, which are
    quotes of Windows that were read as latin-1, are these.

    Raises:
      DatasetError: it is missing, or in none of them.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise DatasetError(f"{path}: cannot be read ({e.strerror})") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ("utf-16",)
    elif b"\0" in data[:200]:
        encodings = ("utf-16-le",)
    else:
        encodings = ("utf-8-sig", *encodings)
    for encoding in encodings:
        try:
            return data.decode(encoding).translate(_C1)
        except UnicodeDecodeError:
            continue
    raise DatasetError(f"{path}: in none of the encodings {', '.join(encodings)}; write it as UTF-8")


def read_rows(path: Path, columns: Sequence[str] = (), delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a CSV file by the names in its first, without blanks around them.

    Raises:
      DatasetError: as `read_text`; no such column.
    """
    csv.field_size_limit(sys.maxsize)
    lines = read_text(path).splitlines(keepends=True)
    reader = csv.DictReader(lines, delimiter=delimiter)
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    if missing := [name for name in columns if name not in names]:
        raise DatasetError(f"{path}: no column {missing[0]!r}; its columns are {', '.join(names) or 'none'}")
    return [{name: (value or "").strip() for name, value in row.items() if name is not None} for row in reader]


def read_json(path: Path) -> Any:
    """Raises DatasetError where it is no JSON."""
    try:
        return parse_json(path.read_bytes(), path)
    except (OSError, ValueError) as e:
        raise DatasetError(str(e)) from None
