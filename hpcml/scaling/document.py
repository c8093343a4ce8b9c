"""The JSON document of a measurement: written whole or not at all, read with its version checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["FORMAT", "VERSION", "read", "written"]

FORMAT = "hpcml-scaling"
VERSION = 1

_NEEDED = ("plan", "rows", "machine", "samples")


def written(document: dict[str, Any]) -> str:
    """Return the text of a document: one sample a line, so that files can be compared.

    Examples
    --------
    >>> from hpcml.scaling.document import written
    >>> written({"samples": [{"p": 1}, {"p": 2}]}).count("\\n")
    5
    """
    parts = []
    for name, value in document.items():
        if isinstance(value, list) and value:
            lines = ",\n  ".join(json.dumps(each, allow_nan=False) for each in value)
            parts.append(f" {json.dumps(name)}: [\n  {lines}]")
        else:
            parts.append(f" {json.dumps(name)}: {json.dumps(value, allow_nan=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read(path: Path) -> dict[str, Any]:
    """Return the document of a file.

    Raises
    ------
    ValueError
        If it is no such document, or one of another version.
    OSError
        If it cannot be read.
    """
    try:
        document = json.loads(path.read_text())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by hpcml scale --json")
    if document.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {document.get('version')!r} of the format and this hpcml reads {VERSION}; "
            "measure anew"
        )
    missing = [name for name in _NEEDED if name not in document]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    return document
