"""Whom builds and the egress proxy trust: bundles of certificate authorities, written beside the proxy's own."""

import os
import ssl
from pathlib import Path
from typing import Final

import certifi

from harness.core.errors import SetupError
from harness.core.home import expanded

CA_FILE: Final = "mitmproxy-ca-cert.pem"
"""Where mitmproxy writes the certificate of its authority."""
UPSTREAM_FILE: Final = "upstream-cas.pem"
BUNDLE_FILE: Final = "bundle.pem"


def system_authorities() -> str:
    """The certificate authorities of this system (PEM): of SSL_CERT_FILE, else OpenSSL's own, else those of certifi."""
    paths = ssl.get_default_verify_paths()
    for name in (os.environ.get("SSL_CERT_FILE"), paths.cafile, paths.openssl_cafile, certifi.where()):
        if name and Path(name).is_file():
            return Path(name).read_text("utf-8", "replace")
    return ""


def write_bundles(folder: Path, upstream_ca: str) -> tuple[Path, Path]:
    """Write what the proxy trusts outside, and what builds trust beside it: the proxy's own authority too.

    Raises SetupError for a file that cannot be read or holds no certificate.
    """
    outside = system_authorities()
    if upstream_ca:
        outside = f"{outside}\n{_own_file(Path(upstream_ca))}"
    upstream, bundle = folder / UPSTREAM_FILE, folder / BUNDLE_FILE
    try:
        upstream.write_text(outside, "utf-8")
        bundle.write_text(f"{outside}\n{(folder / CA_FILE).read_text('utf-8')}", "utf-8")
    except OSError as error:
        raise SetupError(f"cannot write certificates: {error.strerror or error}", where=str(folder), fix="free the folder") from error
    return upstream, bundle


def _own_file(path: Path) -> str:
    fix = "give a file of certificates (PEM) in effects.http.upstream_ca"
    try:
        text = expanded(path).read_text("utf-8")
        ssl.create_default_context(cadata=text or "none")
    except (OSError, ValueError) as error:
        raise SetupError(f"not a file of certificate authorities: {error}", where=str(path), fix=fix) from error
    return text
