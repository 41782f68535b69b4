"""Labels of the candidate, given and read from its commit."""

from pathlib import Path

import pytest

from harness.core.errors import UsageError
from harness.core.limits import LABEL_CHARS_MAX, LABELS_MAX
from harness.settings.labels import labels_of
from harness.settings.load import Option, load_settings
from harness.settings.problems import ConfigError
from tests.settings.test_git_ref import commit, git


def test_names_are_in_lower_case_and_in_order(tmp_path: Path) -> None:
    assert list(labels_of({"Model": " m ", "Author-Kind": "ai"}, None, tmp_path).items()) == [("author-kind", "ai"), ("model", "m")]


def test_labels_from_git_are_the_hash_and_the_trailers_of_the_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    first = commit(tmp_path, "one\n\nAuthor-Kind: ai\nModel: m1\nChange-Size: 12\nReviewed-by: A\nReviewed-by: B\n")
    commit(tmp_path, "two")
    found = labels_of({"model": "m2"}, "HEAD^", tmp_path)
    assert found == {"author-kind": "ai", "change-size": "12", "commit": first, "model": "m2", "reviewed-by": "A, B"}
    with pytest.raises(UsageError, match="there is no ref"):
        labels_of({}, "nowhere", tmp_path)


def test_a_trailer_cannot_pass_for_the_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    sha = commit(tmp_path, "one\n\nCommit: feedfeed\n")
    assert labels_of({}, "HEAD", tmp_path) == {"commit": sha}


def test_all_that_is_no_label_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        labels_of({"no good": "x", "A": "1", "a": "2", "long": "x" * (LABEL_CHARS_MAX + 1)}, None, tmp_path)
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigError, match="labels are too many"):
        labels_of({f"l{index}": "x" for index in range(LABELS_MAX + 1)}, None, tmp_path)


def test_options_and_environment(tmp_path: Path) -> None:
    loaded = load_settings(folder=tmp_path, environ={"SHADOWDIFF_LABELS": "author-kind=ai,model=m"})
    assert loaded.settings.labels == {"author-kind": "ai", "model": "m"}
    option = Option("--label", "labels", ("author-kind=human", "note=a, b=c"))
    loaded = load_settings(folder=tmp_path, environ={"SHADOWDIFF_LABELS": "author-kind=ai"}, options=[option])
    assert loaded.settings.labels == {"author-kind": "human", "note": "a, b=c"}
    with pytest.raises(ConfigError) as caught:
        load_settings(folder=tmp_path, environ={}, options=[Option("--label", "labels", ("ai", "=x", "a=1", "a=2"))])
    assert [problem.where for problem in caught.value.problems] == ["--label"] * 3
