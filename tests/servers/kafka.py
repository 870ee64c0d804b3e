"""One Apache Kafka broker (KRaft, loopback, free ports) from Maven packages and Java 17, for tests marked `real`.

The packages are kept in `$KAFKA_JARS`, by default ~/.cache/kafka-test; Maven is asked only when they are not there.
"""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
START_SECONDS = 60.0

_SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={directory}/data
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.message.timestamp.after.max.ms=9223372036854775807
"""

_PROTECTION = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{ssl}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{ssl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_worker="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={directory}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={directory}/cert.pem
listener.name.ssl.ssl.client.auth=required
"""

_CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 "
    "-keyout key.pem -out cert.pem"
)


_PROXY = """\
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxied},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
"""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def libraries() -> Path:
    """The directory of Kafka's jars, fetched with Maven the first time."""
    home = Path(os.environ.get("KAFKA_JARS") or Path.home() / ".cache" / "kafka-test")
    libs = home / "libs"
    if not libs.is_dir():
        part = home / f"libs.{os.getpid()}"
        copy = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={part}"]
        subprocess.run(copy, check=True, timeout=600)
        part.rename(libs)
    return libs


class Kafka:
    """A broker whose data stay in `directory`: `start` after `stop` goes on with them, on the same port.

    With a `password` it also listens for the user `worker` over TLS (SCRAM or PLAIN, `sasl_address`) and for clients
    with a certificate (`ssl_address`). Broker and clients share one that is made here: `cert.pem`, `key.pem`.
    """

    def __init__(
        self, directory: Path, heap: str = "512m", password: str | None = None, advertised: int | None = None
    ) -> None:
        """`advertised` is the port of a proxy: who comes through it to the port `proxied` is sent there again."""
        self.directory = directory
        self.heap = heap
        self.port, self.proxied = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._settings = directory / "server.properties"
        controller = free_port()
        text = _SETTINGS.format(port=self.port, controller=controller, directory=directory)
        users: list[str] = []
        self.sasl_address = self.ssl_address = ""
        if password is not None:
            subprocess.run(_CERTIFICATE.split(), cwd=directory, check=True, capture_output=True)
            pem = [(directory / name).read_text() for name in ("key.pem", "cert.pem")]
            (directory / "broker.pem").write_text("".join(pem))
            sasl, ssl = free_port(), free_port()
            self.sasl_address, self.ssl_address = f"127.0.0.1:{sasl}", f"127.0.0.1:{ssl}"
            kept = [line for line in text.splitlines() if "listeners=" not in line]
            protection = _PROTECTION.format(
                port=self.port, controller=controller, sasl=sasl, ssl=ssl, directory=directory, password=password
            )
            text = "\n".join([*kept, protection])
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                users += ["--add-scram", f"{mechanism}=[name=worker,password={password}]"]
        if advertised is not None:
            kept = [line for line in text.splitlines() if "listeners=" not in line]
            listeners = _PROXY.format(
                port=self.port, controller=controller, proxied=self.proxied, advertised=advertised
            )
            text = "\n".join([*kept, listeners])
        self._settings.write_text(text)
        # Its first byte is 0: an id that begins with "-" would be read as an option.
        cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._settings), *users],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )

    @property
    def address(self) -> str:
        """host:port"""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The broker's process, while it runs."""
        return self._process.pid if self._process else None

    def _java(self, *options: str) -> list[str]:
        return [
            *("java", *options, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{libraries()}/*"),
        ]

    def start(self) -> None:
        """Starts, and returns when the broker answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java(f"-Xmx{self.heap}"), "kafka.Kafka", str(self._settings)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"Kafka did not start: {(self.directory / 'log').read_text()[-2000:]}")

    def stop(self, sign: int = signal.SIGTERM) -> None:
        """Stops the broker, with SIGKILL as in a crash; its data stay."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(sign)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)
