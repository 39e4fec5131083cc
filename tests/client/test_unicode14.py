"""The table of code points that Unicode 14.0 does not assign, against the Unicode of the running Python."""

import unicodedata

from platemark.unicode14 import UNASSIGNED, first_unassigned

_REFUSED = {point for point in range(0x110000) if UNASSIGNED.fullmatch(chr(point))}
_UNASSIGNED_HERE = {point for point in range(0x110000) if unicodedata.category(chr(point)) == "Cn"}


def test_the_table_is_that_of_unicode_14() -> None:
    """Equal to general category Cn where Python has 14.0; a later Unicode only ever assigns more."""
    assert len(_REFUSED) == 829_834
    if unicodedata.unidata_version == "14.0.0":
        assert _REFUSED == _UNASSIGNED_HERE
    else:
        assert _REFUSED >= _UNASSIGNED_HERE


def test_the_first_one_is_named() -> None:
    """What a message says."""
    assert [first_unassigned(text) for text in ("", "a", "é\ue000", "a\u0378\u0379", "\U0010ffff")] == [
        *(None, None, None),
        *("U+0378", "U+10FFFF"),
    ]
