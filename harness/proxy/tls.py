"""TLS on the listener: the certificate that clients see, and its exchange for a new one while connections live on.

Knows nothing of HTTP. TLS to targets is told by their address.
"""

import ssl
from pathlib import Path

from harness.core.errors import SetupError

HANDSHAKE_SECONDS_MAX = 15.0
"""How long a client may take for its handshake; no request has begun before its end."""


class TlsListener:
    """The certificate of a listener. Give `context` to the server once; `use` changes what later handshakes use."""

    def __init__(self, cert_file: str, key_file: str) -> None:
        """PEM files: the certificate with its chain, and its unencrypted key. Raises SetupError that names the file at fault."""
        self._current = server_context(cert_file, key_file)
        # A context of its own stays with the server: the certificate of each handshake is put in when its client says hello.
        self.context = server_context(cert_file, key_file)
        self.context.sni_callback = self._choose

    def use(self, cert_file: str, key_file: str) -> None:
        """Read these files, which may be the same ones anew, for handshakes from now on; connections stay as they are.

        Raises SetupError, and leaves the old certificate in use, where the files cannot be used.
        """
        self._current = server_context(cert_file, key_file)

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in every handshake, with or without SNI."""
        connection.context = self._current


def server_context(cert_file: str, key_file: str) -> ssl.SSLContext:
    """TLS settings for a listener: TLS 1.2 and newer, HTTP/1.1. Raises SetupError that names the file at fault."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_pair(context, cert_file, key_file)
    return context


def load_pair(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    """Put a certificate and its key into the context. Raises SetupError that names the file at fault, and why."""
    for path, what in ((cert_file, "certificate"), (key_file, "key")):
        if not Path(path).is_file():
            raise SetupError(f"no such {what} file", where=path or "(not given)", fix="give certificate and key, each as a PEM file")
    try:
        # A password is refused instead of asked for: nobody sits at the terminal of a proxy that reloads.
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except ssl.SSLError as error:
        raise _unusable(error, cert_file, key_file) from error
    except _EncryptedKeyError as error:
        raise SetupError("the key is encrypted", where=key_file, fix="give an unencrypted PEM key, readable by this user only") from error
    except OSError as error:
        raise SetupError(f"cannot be read: {error.strerror}", where=f"{cert_file}, {key_file}", fix="check the permissions") from error


class _EncryptedKeyError(Exception):
    """A password was asked for."""


def _no_password() -> str:
    raise _EncryptedKeyError


def _unusable(error: ssl.SSLError, cert_file: str, key_file: str) -> SetupError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return SetupError(
            "the key does not belong to the certificate", where=f"{cert_file}, {key_file}", fix="give the pair that belongs together"
        )
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        probe.load_verify_locations(cert_file)
    except ssl.SSLError:
        return SetupError("not a usable certificate", where=cert_file, fix="give a PEM file with the certificate, then its chain")
    return SetupError("not a usable key", where=key_file, fix="give the certificate's unencrypted key as a PEM file")
