"""What a slice of the traffic is called: `header x-region: JP`, `8 or more requests in flight`. Pure."""

from typing import Final

from harness.core.attributes import IN_FLIGHT, PRESENT

ABSENT: Final = "absent"
"""Value of what is not there. A value of the traffic that reads the same is told apart by its quotes."""
TIME: Final = "time"
"""Name of the time since the run's start."""
_GROUPS: Final = {
    "query": "query parameter",
    "form": "form field",
    "json": "JSON field",
    "header": "header",
    "cookie": "cookie",
    "answer": "stable's",
}


def label_of(attribute: str, value: str) -> str:
    """The part of the traffic in words."""
    if attribute == IN_FLIGHT:
        return f"{value} or more requests in flight"
    if attribute == TIME:
        begin, _, end = value.partition("-")
        return f"{begin} s to {end} s into the run" if end else f"{begin} s into the run and later"
    group, _, name = attribute.partition(".")
    if not name:
        return f"{group} {value}"
    if group == "answer" and name.startswith("json."):
        name = f"answer field {name.removeprefix('json.')}"
    thing = f"{_GROUPS.get(group, group)} {name}"
    if value == ABSENT:
        return f"requests without {thing}"
    return thing if value == PRESENT else f"{thing}: {value}"


def sentence_of(attribute: str, value: str, counts: tuple[int, int, int, int], *, estimated: bool = False, sends: bool = False) -> str:
    """`differs for query parameter currency: JPY, in 14 of 14 requests; 0 of 900 elsewhere`.

    `counts`: diverged and compared within, then elsewhere. `estimated`: those compared are counted up from a sample.
    """
    diverged, compared, elsewhere_diverged, elsewhere = counts
    about = "about " if estimated else ""
    what = "send" if sends else "request"
    plural = "" if compared == 1 else "s"
    return (
        f"differs for {label_of(attribute, value)}, in {diverged:,} of {about}{compared:,} {what}{plural}; "
        f"{elsewhere_diverged:,} of {about}{elsewhere:,} elsewhere"
    )
