"""A Kafka broker for tests: Apache Kafka where there is a JDK and its jars, else librdkafka's mock.

Run as a program it fetches the jars by Maven into the cache folder, once, and keeps beside them what
makes a start cheaper, the loaded classes (-XX:SharedArchiveFile) and a formatted data folder:

    python tests/sinks/servers/kafka.py

MDFEEDD_KAFKA_JARS names another folder of jars. The mock shows aborted data to readers of committed
data, keeps nothing over a restart, and knows no users: what needs more asks `needs_apache` to skip.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

VERSION = "4.3.1"
START_S = 120
DAY_MS = 86_400_000
STOP_S = 60
CLUSTER = "bWRmZWVkZC10ZXN0cy1rYWZrYQ"
CLASSES, FORMATTED = "classes.jsa", "formatted"
USERS = {"admin": "admin-secret", "guest": "guest-secret"}
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>jars</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
<version>{VERSION}</version></dependency></dependencies></project>
"""


def cache():
    """Our folder for what is kept from run to run."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mdfeedd"


def jars():
    """The folder of jars, or None."""
    given = os.environ.get("MDFEEDD_KAFKA_JARS")
    folder = Path(given) if given else cache() / f"kafka-{VERSION}"
    return folder if (folder / f"kafka-clients-{VERSION}.jar").is_file() else None


def kept():
    """The folder of what `keep` made for these jars and this Java, whether or not it is there."""
    java = Path(shutil.which("java") or "java").resolve()
    age_ns = java.stat().st_mtime_ns if java.exists() else 0
    of = hashlib.sha256(f"{jars()} {java} {age_ns}".encode()).hexdigest()[:16]
    return cache() / f"kafka-{VERSION}-{of}"


def keep():
    """Run a broker once, and keep what makes the next ones start sooner."""
    final = kept()
    if not usable() or final.exists():
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent) as work:
        made = Path(work) / "made"
        made.mkdir()
        broker = ApacheBroker(Path(work) / "broker", archive=made / CLASSES)
        broker.end()
        shutil.copytree(broker.formatted, made / FORMATTED)
        with contextlib.suppress(OSError):  # another was first
            made.rename(final)


def fetch():
    """Fetch the jars by Maven; a sentence about what came of it."""
    if jars():
        return f"the jars are in {jars()}"
    if not shutil.which("mvn"):
        return "there is no mvn: tests will use librdkafka's mock broker"
    final = cache() / f"kafka-{VERSION}"
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent) as work:
        (Path(work) / "pom.xml").write_text(POM)
        done = subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime",
             f"-DoutputDirectory={work}/jars"],
            cwd=work, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if done.returncode:
            return f"mvn failed, tests will use librdkafka's mock broker: {done.stdout[-500:]}"
        shutil.rmtree(final, ignore_errors=True)
        (Path(work) / "jars").rename(final)
    return f"the jars are in {final} now"


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class ApacheBroker:
    """One node, broker and controller, on free ports: `address` without login, `sasl_address` with."""

    kind = f"Apache Kafka {VERSION}"
    hides_aborted = True

    def __init__(
        self,
        folder,
        *,
        heap_mb=384,
        flags=("-XX:TieredStopAtLevel=1",),
        archive=None,
        tls=None,  # files of a certificate and its key: then `tls_address`, for clients that have them
        **settings,
    ):
        self.folder = Path(folder)
        self.formatted = self.folder / FORMATTED
        self._archive = archive
        self.folder.mkdir(parents=True, exist_ok=True)
        plain, sasl, controller = free_ports(3)
        self.address, self.sasl_address = f"127.0.0.1:{plain}", f"127.0.0.1:{sasl}"
        self._process = None
        self._flags = (
            f"-Xmx{heap_mb}m", f"-Xms{min(heap_mb, 128)}m", "-XX:+UseSerialGC", "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={self.folder}", *flags,
        )  # fmt: skip
        users = " ".join(f'user_{name}="{secret}"' for name, secret in USERS.items())
        lines = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "SASL_PLAINTEXT:SASL_PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config":
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:admin",
            "log.dirs": self.folder / "data",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "group.initial.rebalance.delay.ms": 0,
            "auto.create.topics.enable": "false",
            "log.retention.check.interval.ms": 1000,
            "broker.heartbeat.interval.ms": 200,
            "broker.session.timeout.ms": 1500,
        } | {key.replace("_", "."): value for key, value in settings.items()}  # fmt: skip
        if tls is not None:
            lines |= self._speak_tls(lines, *tls)
        self._config = self.folder / "server.properties"
        self._config.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        self._format()
        self.start()

    def _format(self):
        """What a broker wants to find in its data folder: no ports, no paths."""
        data = self.folder / "data"
        if (kept() / FORMATTED).is_dir():
            shutil.copytree(kept() / FORMATTED, data)
            return
        tool = ("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", self._config)
        done = subprocess.run(
            self._command(*tool), capture_output=True, text=True, timeout=START_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.copytree(data, self.formatted)

    def _speak_tls(self, lines, certificate, key):
        (port,) = free_ports(1)
        self.tls_address = f"127.0.0.1:{port}"
        both = self.folder / "both.pem"
        both.write_text(Path(key).read_text() + Path(certificate).read_text())
        return {
            "listeners": f"{lines['listeners']},SSL://{self.tls_address}",
            "listener.security.protocol.map": f"{lines['listener.security.protocol.map']},SSL:SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": both,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": certificate,
            "ssl.client.auth": "required",
            "super.users": f"{lines['super.users']};User:CN=broker",
        }

    def _command(self, *arguments):
        classes = ":".join(sorted(map(str, jars().glob("*.jar"))))
        return ["java", *self._flags, "-cp", classes, *map(str, arguments)]

    def start(self):
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        loaded, archive = kept() / CLASSES, []
        if self._archive:
            archive = [f"-XX:ArchiveClassesAtExit={self._archive}"]
        elif loaded.exists():
            archive = [f"-XX:SharedArchiveFile={loaded}"]
        self._process = subprocess.Popen(
            self._command(*archive, "kafka.Kafka", self._config),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        log.close()
        self.wait()

    def wait(self):
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        deadline = time.monotonic() + START_S
        often = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100}
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0} | often)
        while True:
            assert self._process.poll() is None, (self.folder / "log").read_text()[-4000:]
            with contextlib.suppress(KafkaException):
                if admin.list_topics(timeout=1).brokers:
                    return
            assert time.monotonic() < deadline, "the broker does not answer"

    def end(self):
        """End it in order: only then it writes its classes."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        finally:
            self.stop()

    def kill(self):
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def freeze(self):
        """Let it do nothing; its own controller takes that for its death after `broker.session.timeout.ms`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def prepare(self, ring):
        """Whoever writes makes the topics."""

    def stop(self):
        if self._process.poll() is None:
            self.thaw()
            self.kill()


class MockBroker:
    """librdkafka's own, in this process."""

    kind = "librdkafka's mock"
    hides_aborted = False
    sasl_address = None

    def __init__(self):
        from confluent_kafka import Producer

        self._producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        found = self._producer.list_topics(timeout=10).brokers
        self.address = next(f"{one.host}:{one.port}" for one in found.values())

    def prepare(self, ring):
        """Make the topics of a ring: it makes those that a producer asks about, and no others."""
        for what in ("ticks", "bars", "instruments", "position"):
            self._producer.list_topics(f"md.{ring}.{what}", timeout=10)

    def freeze(self):
        """It takes nothing while nobody asks."""

    def thaw(self):
        """Nor has it stood still."""

    def stop(self):
        self._producer = None


def usable():
    """Whether a real broker can be started here."""
    return bool(jars() and shutil.which("java"))


@pytest.fixture(scope="session")
def shared_kafka(tmp_path_factory):
    """A broker for all tests of this process: the best there is."""
    pytest.importorskip("confluent_kafka")
    if usable():
        broker = ApacheBroker(tmp_path_factory.mktemp("kafka"), broker_session_timeout_ms=DAY_MS)
    else:
        broker = MockBroker()
    print(f"using {broker.kind} at {broker.address}")
    yield broker
    broker.stop()


@pytest.fixture
def kafka(shared_kafka):
    """The same. It stands still while no test wants it: idle, it takes a twentieth of a processor."""
    shared_kafka.thaw()
    yield shared_kafka
    shared_kafka.freeze()


@pytest.fixture
def apache(kafka):
    """The same where it is Apache Kafka; the test is skipped where it is not."""
    if not kafka.hides_aborted:
        pytest.skip(f"{kafka.kind} shows what was aborted, and keeps nothing: needs Apache Kafka")
    return kafka


@pytest.fixture
def own_kafka(tmp_path):
    """Makes brokers of this test's own, to be killed."""
    pytest.importorskip("confluent_kafka")
    if not usable():
        pytest.skip("no JDK, or no jars of Apache Kafka: see tests/sinks/servers/kafka.py")
    made = []

    def make(**settings):
        made.append(ApacheBroker(tmp_path / f"kafka-{len(made)}", **settings))
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


if __name__ == "__main__":
    print(fetch())
    try:
        keep()
    except (AssertionError, OSError, subprocess.SubprocessError) as trouble:
        print(f"nothing is kept that makes its start cheaper: {trouble}")
    sys.exit(0)
