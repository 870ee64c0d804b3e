"""The settings of a protected Kafka as aiokafka takes them; the same for consumer, producer and administration."""

from __future__ import annotations

import ssl
from typing import Any

from stream.config import Security


def connection(security: Security) -> dict[str, Any]:
    """Keyword arguments of any aiokafka client. Raises OSError or ssl.SSLError when a file cannot be used."""
    settings: dict[str, Any] = {"security_protocol": security.protocol}
    if "SASL" in security.protocol:
        settings["sasl_mechanism"] = security.sasl_mechanism
        settings["sasl_plain_username"] = security.sasl_username
        settings["sasl_plain_password"] = security.sasl_password
    if "SSL" in security.protocol:
        context = ssl.create_default_context(cafile=security.ssl_cafile)
        if security.ssl_certfile:
            context.load_cert_chain(security.ssl_certfile, security.ssl_keyfile, security.ssl_password)
        settings["ssl_context"] = context
    return settings
