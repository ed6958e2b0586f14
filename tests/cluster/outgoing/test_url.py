"""A URL that a tenant has set."""

from __future__ import annotations

import pytest

from cluster.errors import InvalidRequest
from cluster.outgoing.allowance import Allowance
from cluster.outgoing.url import checked_url


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("https://api.acme.test", "https://api.acme.test"),
        ("HTTPS://API.acme.test:8443/V1/", "https://api.acme.test:8443/V1"),
        ("http://1.1.1.1/a", "http://1.1.1.1/a"),
        ("http://10.0.0.1:8000/v1", "http://10.0.0.1:8000/v1"),
    ],
)
def test_what_can_be_called(given: str, plain: str) -> None:
    allowance = Allowance(["10.0.0.1:8000"])
    assert checked_url(given, allowance, param="url", query=False) == plain


@pytest.mark.parametrize(
    "given",
    [
        "", "acme", "ftp://acme.test", "file:///etc/passwd", "unix:/tmp/x", "https://", "https:///a",
        "http://127.0.0.1", "http://[::1]:8000", "http://[::ffff:10.0.0.1]", "http://10.0.0.1:8001",
        "http://a.test:0", "http://a.test:99999", "http://a.test/ b", "http://a.test\n",
        "http://ä.test", "http://a.test/?key=1", "http://a.test/#x", "http://a.test\\@b.test",
        "http://" + "a" * 2000,
    ],
)  # fmt: skip
def test_what_can_not(given: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_url(given, Allowance(["10.0.0.1:8000"]), param="url", query=False)
    assert caught.value.param == "url"


def test_credentials_are_refused_and_not_shown() -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_url("https://me:sk-1@a.test", Allowance(), param="url")
    assert "sk-1" not in caught.value.message
