"""Errors that people see: what, where, what to do; and the exit code each kind has."""

import pytest

from harness.core.errors import CaptureError, SetupError, ShadowdiffError, UsageError


@pytest.mark.parametrize(
    ("error", "code"),
    [(ShadowdiffError("x"), 5), (UsageError("x"), 2), (SetupError("x"), 4), (CaptureError("x"), 4)],
)
def test_exit_codes_mean_one_thing_each(error: ShadowdiffError, code: int) -> None:
    assert error.exit_code == code


def test_no_error_can_be_taken_for_a_verdict() -> None:
    kinds: list[type[ShadowdiffError]] = [ShadowdiffError, *ShadowdiffError.__subclasses__(), *SetupError.__subclasses__()]
    assert {kind.exit_code for kind in kinds}.isdisjoint({0, 1, 3, 130, 143})


@pytest.mark.parametrize(
    ("where", "fix", "text"),
    [
        ("", "", "is wrong"),
        ("a.har, entry 3", "", "a.har, entry 3: is wrong"),
        ("", "mend it", "is wrong\nhint: mend it"),
        ("a.har", "mend it", "a.har: is wrong\nhint: mend it"),
    ],
)
def test_an_error_says_what_where_and_how_to_mend_it(where: str, fix: str, text: str) -> None:
    error = CaptureError("is wrong", where=where, fix=fix)
    assert str(error) == text
    assert (error.what, error.where, error.fix) == ("is wrong", where, fix)


def test_a_capture_that_cannot_be_read_is_a_matter_of_the_environment() -> None:
    with pytest.raises(SetupError, match="cut"):
        raise CaptureError("cut")
