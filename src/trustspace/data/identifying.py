"""Whether a column tells who somebody is: by its name, its values, or both.

No finding quotes a value. Absence of a sign is not anonymity: the officer decides, and this only makes
the obvious impossible to overlook.
"""

from __future__ import annotations

import pyarrow as pa

from trustspace.data.name_signs import name_signs
from trustspace.data.signs import Sign
from trustspace.data.value_signs import column_signs, text_signs


def looks_identifying(name: str, column: pa.ChunkedArray) -> tuple[Sign, ...]:
    """The signs found in the name and the values of one plain column, without repetition, in fixed order."""
    found = name_signs(name) | text_signs(name) | column_signs(column)
    return tuple(sign for sign in Sign if sign in found)
