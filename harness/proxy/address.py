"""Where a target listens: the parsed form of its URL, and the TLS settings for it. No sockets are opened here."""

import ssl
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from harness.core.errors import SetupError, UsageError
from harness.proxy.tls import load_pair

DEFAULT_PORTS = {"http": 80, "https": 443}


class HostRule(StrEnum):
    """Which Host header a target sees."""

    KEEP = "keep"
    """The client's own."""
    REWRITE = "rewrite"
    """The authority of the target's URL."""


class UpstreamAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A target's address. `base_path` has no slash at its end and is put before each request target."""

    host: str = "localhost"
    port: int = 80
    tls: bool = False
    base_path: str = ""
    unix_path: str = ""
    """Path of a Unix socket; host and port then only name the target."""
    verify: bool = True
    ca_file: str = ""
    server_name: str = ""
    """Name for SNI and verification; empty means `host`."""
    client_cert: str = ""
    """PEM file with the certificate, and its chain, that the target is shown when it asks for one."""
    client_key: str = ""
    """PEM file with the key of `client_cert`; empty means that the same file holds it."""

    @property
    def authority(self) -> str:
        """Value of a rewritten Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix:{self.unix_path}"
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.base_path}"


def parse_address(
    url: str, *, verify: bool = True, ca_file: str = "", server_name: str = "", client_cert: str = "", client_key: str = ""
) -> UpstreamAddress:
    """The address of `http://`, `https://` or `unix:/path`. Raises UsageError that names what is wrong with the URL, or a key alone."""
    if client_key and not client_cert:
        raise UsageError("a client key needs its certificate", where=client_key, fix="give client_cert too")
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        if not path.startswith("/"):
            raise UsageError("a Unix socket needs an absolute path", where=url, fix="write unix:/path/to/socket")
        return UpstreamAddress(unix_path=path)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"not a URL: {error}", where=url, fix="write http://host:port or https://host:port") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise UsageError("a target must be an http or https URL with a host", where=url, fix="write http://host:port or unix:/path")
    if parts.query or parts.fragment or parts.username is not None:
        raise UsageError("a target's URL has neither user, query nor fragment", where=url, fix="leave only scheme, host, port and path")
    if any(char <= " " or char > "~" for char in url):
        raise UsageError("a target's URL holds only printable ASCII", where=url, fix="percent-encode the path; use the host's punycode")
    return UpstreamAddress(
        host=parts.hostname,
        port=DEFAULT_PORTS[parts.scheme] if port is None else port,
        tls=parts.scheme == "https",
        base_path=parts.path.rstrip("/"),
        verify=verify,
        ca_file=ca_file,
        server_name=server_name,
        client_cert=client_cert,
        client_key=client_key,
    )


def tls_context(address: UpstreamAddress) -> ssl.SSLContext | None:
    """TLS settings for a target; None without TLS. Raises SetupError when the CA, client certificate or key file cannot be used."""
    if not address.tls:
        return None
    if address.ca_file and not Path(address.ca_file).is_file():
        raise SetupError("no such CA file", where=address.ca_file, fix=f"give a PEM file with the CA of {address}")
    try:
        context = ssl.create_default_context(cafile=address.ca_file or None)
    except ssl.SSLError as error:
        raise SetupError(f"not a usable CA file: {error.reason}", where=address.ca_file, fix="give a PEM file") from error
    if not address.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if address.client_cert:
        load_pair(context, address.client_cert, address.client_key or address.client_cert)
    context.set_alpn_protocols(["http/1.1"])
    return context
