"""The policy that a run is judged by: read as the settings say, required where they do, and applied to the candidate's labels."""

from collections.abc import Mapping
from pathlib import Path

from harness.core.labels import RunMode
from harness.core.redact import Redactor
from harness.evidence.policy import Policy, digest_of
from harness.resources import config_path
from harness.settings.labels import labels_of
from harness.settings.policies import LoadedPolicy, check_digest, for_labels, load_policy, policy_name
from harness.settings.schema import Settings


def labels_for(settings: Settings, redactor: Redactor) -> dict[str, str]:
    """The candidate's labels as they are kept and shown, so without secrets; conditions of policies are about these too, and so
    apply alike when the run is judged again. Raises as `labels_of` does."""
    given = {**settings.provenance, **settings.labels}
    found = labels_of(given, settings.labels_from_git, Path())
    return {name: redactor.text(value.encode("utf-8", "backslashreplace").decode("utf-8")) for name, value in found.items()}


def policy_for(settings: Settings, mode: RunMode, labels: Mapping[str, str]) -> LoadedPolicy:
    """The policy of the settings for a candidate with these labels. Raises UsageError or SetupError where it cannot be had."""
    return for_labels(named_policy(settings.policy, mode, ref=settings.policy_ref, digest=settings.require_policy_digest), labels)


def named_policy(name: str | None, mode: RunMode, *, ref: str | None = None, digest: str | None = None) -> LoadedPolicy:
    """The policy by name or file, that of the mode where none is named; read at `ref`, and refused where its digest is not `digest`."""
    loaded = load_policy(policy_name(name, mode), folder=config_path("policies/default.yaml").parent, ref=ref)
    if digest is not None:
        check_digest(loaded, digest)
    return loaded


def policy_again(whole: Policy, labels: Mapping[str, str], *, ref: str = "") -> LoadedPolicy:
    """A stored policy, applied to the stored labels once more; `ref` is where it had been read."""
    return for_labels(LoadedPolicy(whole, digest_of(whole), Path(), ref), labels)
