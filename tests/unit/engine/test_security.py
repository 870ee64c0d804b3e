"""Settings of a protected Kafka reach the client."""

from __future__ import annotations

import ssl

import pytest

from stream.config import Security
from stream.engine.security import connection


def test_plaintext_needs_nothing() -> None:
    assert connection(Security()) == {"security_protocol": "PLAINTEXT"}


def test_sasl_over_tls_passes_all() -> None:
    settings = connection(Security("SASL_SSL", sasl_mechanism="SCRAM-SHA-512", sasl_username="u", sasl_password="p"))
    context = settings.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert settings == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }


def test_a_missing_file_is_told() -> None:
    with pytest.raises(OSError, match="No such file"):
        connection(Security("SSL", ssl_cafile="/nowhere/ca.pem"))
