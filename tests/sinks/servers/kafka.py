"""A Kafka broker for tests: Apache Kafka where there is a JDK and its jars, else librdkafka's mock.

Run as a program it fetches the jars by Maven into the cache folder, once:

    python tests/sinks/servers/kafka.py

MDFEEDD_KAFKA_JARS names another folder of jars. The mock shows aborted data to readers of committed
data, keeps nothing over a restart, and knows no users: what needs more asks `needs_apache` to skip.
"""

from __future__ import annotations

import contextlib
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
USERS = {"admin": "admin-secret", "guest": "guest-secret"}
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>jars</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
<version>{VERSION}</version></dependency></dependencies></project>
"""


def jars():
    """The folder of jars, or None."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    given = os.environ.get("MDFEEDD_KAFKA_JARS")
    folder = Path(given) if given else cache / "mdfeedd" / f"kafka-{VERSION}"
    return folder if (folder / f"kafka-clients-{VERSION}.jar").is_file() else None


def fetch():
    """Fetch the jars by Maven; a sentence about what came of it."""
    if jars():
        return f"the jars are in {jars()}"
    if not shutil.which("mvn"):
        return "there is no mvn: tests will use librdkafka's mock broker"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    final = cache / "mdfeedd" / f"kafka-{VERSION}"
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

    def __init__(self, folder, *, heap_mb=384, flags=("-XX:TieredStopAtLevel=1",), **settings):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        plain, sasl, controller = free_ports(3)
        self.address, self.sasl_address = f"127.0.0.1:{plain}", f"127.0.0.1:{sasl}"
        self._process = None
        self._flags = (f"-Xmx{heap_mb}m", f"-Xms{min(heap_mb, 128)}m", "-XX:+UseSerialGC", *flags)
        users = " ".join(f'user_{name}="{secret}"' for name, secret in USERS.items())
        lines = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "SASL_PLAINTEXT:SASL_PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
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
        self._config = self.folder / "server.properties"
        self._config.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        cluster = "bWRmZWVkZC10ZXN0cy1rYWZrYQ"
        self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", self._config,
                   "--standalone", "--ignore-formatted")  # fmt: skip
        self.start()

    def _command(self, *arguments):
        flags = ("-XX:TieredStopAtLevel=1", "-Xshare:auto")
        return ["java", *flags, *self._flags, "-cp", f"{jars()}/*", *map(str, arguments)]

    def _java(self, *arguments):
        done = subprocess.run(
            self._command(*arguments), capture_output=True, text=True, timeout=START_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            self._command("kafka.Kafka", self._config),
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
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        while True:
            assert self._process.poll() is None, (self.folder / "log").read_text()[-4000:]
            with contextlib.suppress(KafkaException):
                if admin.list_topics(timeout=1).brokers:
                    return
            assert time.monotonic() < deadline, "the broker does not answer"

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def prepare(self, ring):
        """Whoever writes makes the topics."""

    def stop(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
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

    def stop(self):
        self._producer = None


def usable():
    """Whether a real broker can be started here."""
    return bool(jars() and shutil.which("java"))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """A broker for all tests of this process: the best there is."""
    pytest.importorskip("confluent_kafka")
    broker = ApacheBroker(tmp_path_factory.mktemp("kafka")) if usable() else MockBroker()
    print(f"using {broker.kind} at {broker.address}")
    yield broker
    broker.stop()


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
    sys.exit(0)
