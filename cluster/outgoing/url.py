"""A URL that a tenant has set, judged before anything is sent there."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from cluster.errors import InvalidRequest
from cluster.outgoing.allowance import Allowance, literal

MAX_URL = 2000


def checked_url(url: str, allowance: Allowance, *, param: str, query: bool = True) -> str:
    """The URL in its plain form, without a `/` at its end.

    Raises InvalidRequest for what can't be called: another scheme, credentials in it, an address
    that is not allowed. A name is judged by its address, at each connection; `query` says
    whether the URL may have one.
    """

    def wrong(why: str) -> InvalidRequest:
        return InvalidRequest(f"{param} {why} (given: {url[:200]!r}).", param=param)

    if len(url) > MAX_URL:
        raise wrong(f"has {len(url)} characters; at most {MAX_URL} are taken")
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise wrong("may only have ASCII characters, without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong(f"is no URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise wrong("must begin with http:// or https://")
    if not host or "\\" in url:
        raise wrong("names no host")
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest(  # without the URL: what is in it is a secret
            f"{param} must not hold credentials; give them as the secret.", param=param
        )
    if parts.fragment or (parts.query and not query):
        raise wrong("must end with its path: no `?` and no `#`")
    address = literal(host)
    if port == 0:
        raise wrong("names port 0")
    port = port or (443 if parts.scheme == "https" else 80)
    if address is not None and not allowance.covers(host, address, port):
        raise wrong("leads to an address that is not public and that the operator has not allowed")
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), parts.query, ""))
