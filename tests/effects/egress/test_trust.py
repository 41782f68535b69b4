"""Bundles of certificate authorities: the system's, the user's, the proxy's."""

import ssl
from pathlib import Path

import pytest
import trustme

from harness.core.errors import SetupError
from harness.effects.egress.trust import CA_FILE, system_authorities, write_bundles


def authorities(path: Path) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    return len(context.get_ca_certs())


def test_builds_trust_the_system_the_given_and_the_proxy(tmp_path: Path) -> None:
    given, own = trustme.CA(), trustme.CA()
    given.cert_pem.write_to_path(str(tmp_path / "given.pem"))
    own.cert_pem.write_to_path(str(tmp_path / CA_FILE))
    upstream, bundle = write_bundles(tmp_path, str(tmp_path / "given.pem"))
    assert authorities(bundle) == authorities(upstream) + 1
    with_given = authorities(upstream)
    plain, _ = write_bundles(tmp_path, "")
    assert authorities(plain) == with_given - 1


def test_the_systems_own_choice_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = tmp_path / "chosen.pem"
    trustme.CA().cert_pem.write_to_path(str(chosen))
    monkeypatch.setenv("SSL_CERT_FILE", str(chosen))
    assert system_authorities() == chosen.read_text()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    assert "BEGIN CERTIFICATE" in system_authorities()


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_certificates_is_refused(tmp_path: Path, content: str | None) -> None:
    given = tmp_path / "given.pem"
    if content is not None:
        given.write_text(content)
    with pytest.raises(SetupError, match="not a file of certificate authorities"):
        write_bundles(tmp_path, str(given))
