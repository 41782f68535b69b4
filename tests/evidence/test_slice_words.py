import pytest

from harness.evidence.slice_words import ABSENT, label_of, sentence_of


@pytest.mark.parametrize(
    ("attribute", "value", "label"),
    [
        ("method", "POST", "method POST"),
        ("query.currency", "JPY", "query parameter currency: JPY"),
        ("form.plan", "pro", "form field plan: pro"),
        ("json.customer.kind", "premium", "JSON field customer.kind: premium"),
        ("header.x-region", "JP", "header x-region: JP"),
        ("header.if-none-match", "present", "header if-none-match"),
        ("header.x-debug", ABSENT, "requests without header x-debug"),
        ("cookie.beta", "present", "cookie beta"),
        ("answer.status", "404", "stable's status: 404"),
        ("answer.json.state", "open", "stable's answer field state: open"),
        ("in_flight", "8", "8 or more requests in flight"),
        ("time", "12.0-31.0", "12.0 s to 31.0 s into the run"),
        ("time", "12.0-", "12.0 s into the run and later"),
    ],
)
def test_a_part_of_the_traffic_has_a_name(attribute: str, value: str, label: str) -> None:
    assert label_of(attribute, value) == label


def test_the_sentence_has_both_counts_and_says_what_is_counted() -> None:
    said = sentence_of("header.x-region", "JP", (14, 14, 0, 900))
    assert said == "differs for header x-region: JP, in 14 of 14 requests; 0 of 900 elsewhere"
    said = sentence_of("in_flight", "8", (3, 1, 2, 9_000), estimated=True, sends=True)
    assert said == "differs for 8 or more requests in flight, in 3 of about 1 send; 2 of about 9,000 elsewhere"
