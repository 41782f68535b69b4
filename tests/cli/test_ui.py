"""Text made safe to show."""

from hypothesis import given
from hypothesis import strategies as st

from harness.ui import plain


def test_control_characters_are_written_out() -> None:
    assert plain("a\x1b[31mb\r\x00\x9b\u202e\u2028\ud800") == "a\\x1b[31mb\\x0d\\x00\\x9b\\u202e\\u2028\\ud800"
    assert plain("tab\tline\nhé 日本 🙂") == "tab\tline\nhé 日本 🙂"


@given(st.text())
def test_what_is_safe_stays_and_what_is_not_goes(text: str) -> None:
    safe = plain(text)
    assert plain(safe) == safe
    assert all(ord(char) >= 0x20 or char in "\t\n" for char in safe)
    safe.encode("utf-8")
