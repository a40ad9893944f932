"""One connection to the server: made when needed, dropped at the first error, never waited on for ever.

The only module that knows psycopg, imported when a sink is made. Whatever goes wrong in here comes
out as a `SinkError` of one sentence, and the connection is gone then: the next call makes another,
so nothing of a half-done transaction is left over. A server that takes bytes and never answers is
noticed by the deadline of the call (`timeout_s`), a dead network by TCP, a hung statement by the
server's own timeouts.
"""

from __future__ import annotations

import contextlib
import select
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg import conninfo, pq

from mdfeedd.sinks.protocol import SinkError
from mdfeedd.sinks.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from mdfeedd.sinks.postgres.options import PostgresOptions

    Row = tuple[Any, ...]
    Result = TypeVar("Result")

__all__ = ["ElsewhereError", "Link", "check_dsn"]

MIN_SERVER_VERSION: Final = 140_000
CONNECT_TIMEOUT_S: Final = 10
WRITE_BYTES: Final = 1 << 17  # at a time into libpq's buffer: larger ones slow it down
UNSENT_BYTES: Final = 1 << 20  # in that buffer before we wait for the socket
_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER: Final = b"\xff\xff"
#: A statement may run as long as it gets on, which is seen from here; see `_flush`.
_BEGIN: Final = "begin; set local statement_timeout = 0; "
#: What a server's code means to whoever reads the log; the server's own words follow.
_MEANING: Final = {
    "25006": "the database is read-only (a standby, or default_transaction_read_only)",
    "25P03": "the server ended our session, which it found idle for too long in a transaction",
    "53100": "the server's disk is full",
    "53200": "the server is out of memory or lock slots (max_locks_per_transaction)",
    "53300": "the server has no connection left (max_connections)",
    "55P03": "somebody else holds a lock on what we need (lock_timeout_s)",
    "57014": "the server cancelled what took longer than timeout_s",
    "57P01": "the server was told to end our session",
    "57P02": "the server is restarting after a crash",
    "57P03": "the server is starting or stopping",
    "42501": "the role may not do what it must",
    "3F000": "the schema is missing",
    "42P01": "a table is missing",
}


def check_dsn(options: PostgresOptions) -> None:
    """Raises `SinkError`, not retriable, if libpq does not understand the dsn."""
    try:
        given = conninfo.conninfo_to_dict(options.dsn)
    except psycopg.Error:
        raise SinkError(
            "sink.dsn: is no connection string or URI that libpq understands", retriable=False
        ) from None
    if given.get("password"):
        raise SinkError("sink.dsn: must not hold a password", retriable=False)


class ElsewhereError(Exception):
    """The last statement of a transaction did not find what it was to change."""


class _Connection(psycopg.Connection["Row"]):
    """A connection on which nothing is waited for longer than until `deadline`."""

    deadline: float = 0.0
    clock: Callable[[], float] = staticmethod(time.monotonic)

    def wait(self, gen: Generator[Any, Any, Result], *_: Any, **__: Any) -> Result:
        """Drive one of psycopg's generators to its end."""
        try:
            want = next(gen)
            while True:
                want = gen.send(self.ready(want))
        except StopIteration as end:
            result: Result = end.value
            return result

    def ready(self, want: int) -> int:
        """Wait until the socket can be read (bit 1 of `want`) or written (bit 2); which of them.

        Raises `TimeoutError` at the deadline.
        """
        poller = select.poll()
        poller.register(
            self.pgconn.socket,
            (select.POLLIN if want & 1 else 0) | (select.POLLOUT if want & 2 else 0),
        )
        events = poller.poll(max(self.deadline - self.clock(), 0) * 1e3)
        if not events:
            raise TimeoutError
        found = events[0][1]
        if found & ~(select.POLLIN | select.POLLOUT):
            return want  # the error is found by whoever reads or writes
        return (1 if found & select.POLLIN else 0) | (2 if found & select.POLLOUT else 0)


class Link:
    """A connection of a sink. For one thread at a time."""

    def __init__(
        self,
        options: PostgresOptions,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._name = name
        self._clock = clock
        self._connection: _Connection | None = None
        self._where = "PostgreSQL"
        self._start = ""  # what the next statement of the transaction is preceded by
        self.generation: int = 0  # of connections: what was learnt over an earlier one may be wrong

    @property
    def connected(self) -> bool:
        """A connection is there, as far as is known."""
        return self._connection is not None

    def connect(self) -> None:
        """Make the connection if there is none."""
        if self._connection is None:
            self._connection = self._connected()
            self.generation += 1

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of a statement, in which $schema stands for the schema's name.

        Several statements at once are allowed without parameters.
        """
        with self._told() as connection:
            cursor = connection.execute(
                sql.replace("$schema", self._options.schema).encode(),  # psycopg wants literals
                parameters or None,
            )
            return cursor.fetchall() if cursor.description else []

    def update(self, sql: str, parameters: Sequence[Any]) -> int:
        """How many rows a statement changed."""
        with self._told() as connection:
            command = sql.replace("$schema", self._options.schema).encode()
            return connection.execute(command, parameters).rowcount

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end; after an exception roll back, or drop the connection if that fails.

        A `SinkError` from the commit leaves it open whether the server has done it.
        """
        self.execute(_BEGIN)
        try:
            yield
        except BaseException:
            if self.connected:
                try:
                    self.execute("rollback")
                except SinkError:
                    self.close()
            raise
        with self._told() as connection:
            done = connection.execute("commit").statusmessage
            if done != "COMMIT":  # what had failed before is rolled back without an error
                raise psycopg.OperationalError(f"the server answered commit by {done}")

    def copy(self, copies: Iterable[tuple[str, Iterable[memoryview]]]) -> int:
        """Begin a transaction with a COPY (binary) of each; bytes sent. `commit` is to follow.

        The blocks of a COPY are rows without header and trailer; one may be used again when the
        next is asked for.
        """
        with self._told() as connection:
            self._start, sent = _BEGIN, 0
            for sql, blocks in copies:
                sent += self._copy(connection, self._start + sql, blocks)
                self._start = ""
            return sent

    def commit(self, last: str, parameters: Sequence[Any]) -> None:
        """Send the transaction's statement `last`, and the commit; `committed` waits for them.

        `last` divides by zero where it must not be committed. It goes out together with the
        commit, as the begin does with the first COPY: an answer waited for costs as much as a
        thousand rows where the server is far or busy.
        """
        with self._told() as connection:
            command = (self._start + last + "; commit").replace("$schema", self._options.schema)
            client = psycopg.ClientCursor(connection)  # several statements: no parameters by wire
            connection.pgconn.send_query(client.mogrify(command.encode(), parameters).encode())
            self._flush(connection)

    def committed(self) -> None:
        """Wait until the server has committed.

        Raises `ElsewhereError` if `last` found that it must not; after a `SinkError` it is open
        whether it has.
        """
        with self._told() as connection:
            try:
                answer = self._answer(connection, None)
            except psycopg.errors.DivisionByZero:
                raise ElsewhereError from None
            if answer != "COMMIT":  # what failed before is rolled back in silence
                raise psycopg.OperationalError(f"commit was answered by {answer}")

    def close(self) -> None:
        """Let go of the connection. Never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    # --------------------------------------------------------------------------------------- inside

    def _copy(self, connection: _Connection, sql: str, blocks: Iterable[memoryview]) -> int:
        server = connection.pgconn
        server.send_query(sql.replace("$schema", self._options.schema).encode())
        self._answer(connection, pq.ExecStatus.COPY_IN)
        sent = self._put(connection, memoryview(_COPY_HEADER), 0)
        for block in blocks:
            for start in range(0, len(block), WRITE_BYTES):
                sent = self._put(connection, block[start : start + WRITE_BYTES], sent)
        sent = self._put(connection, memoryview(_COPY_TRAILER), sent)
        server.put_copy_end()
        self._answer(connection, None)
        return sent

    def _put(self, connection: _Connection, data: memoryview, sent: int) -> int:
        connection.pgconn.put_copy_data(data)
        if sent // UNSENT_BYTES != (sent + len(data)) // UNSENT_BYTES:
            self._flush(connection)
        return sent + len(data)

    def _flush(self, connection: _Connection) -> None:
        """Until the socket has taken everything; the server's complaints are read meanwhile."""
        while connection.pgconn.flush():
            if connection.ready(1 | 2) & 1:
                connection.pgconn.consume_input()
            connection.deadline = self._clock() + self._options.timeout_s  # it gets on

    def _answer(self, connection: _Connection, wanted: pq.ExecStatus | None) -> str:
        """Wait for the result of this status, or to the end; those before it must be good.

        What the server calls the last command that it has done.
        """
        self._flush(connection)
        server = connection.pgconn
        good, done = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, wanted), ""
        while True:
            while server.is_busy():
                connection.ready(1)
                server.consume_input()
            result = server.get_result()
            if result is None and wanted is None:
                return done
            if result is None or result.status not in good:
                if result is not None and result.error_field(pq.DiagnosticField.SQLSTATE):
                    raise psycopg.errors.error_from_result(result)
                raise psycopg.OperationalError(server.error_message.decode(errors="replace"))
            if result.status == wanted:
                return done
            done = (result.command_status or b"").decode()

    @contextlib.contextmanager
    def _told(self) -> Iterator[_Connection]:
        """The connection with a fresh deadline. Errors become one sentence and end it."""
        self.connect()
        connection = self._connection
        assert connection is not None
        connection.deadline = self._clock() + self._options.timeout_s
        try:
            yield connection
        except TimeoutError:
            self.close()
            raise SinkError(
                f"{self._where} does not answer: nothing for {self._options.timeout_s:g} s",
                retriable=True,
            ) from None
        except psycopg.Error as error:
            self.close()
            raise SinkError(f"{self._where}: {_sentence(error)}", retriable=True) from error
        except BaseException:
            self.close()
            raise

    def _connected(self) -> _Connection:
        options = self._options
        parameters: dict[str, Any] = {
            "application_name": f"mdfeedd {self._name}".rstrip(),
            "connect_timeout": CONNECT_TIMEOUT_S,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        }
        parameters |= conninfo.conninfo_to_dict(options.dsn)
        for key in ("host", "port", "dbname", "user"):
            if getattr(options, key):
                parameters[key] = getattr(options, key)
        secret = read_secret(
            options.password_env, options.password_file, options.password_credential
        )
        if secret is not None:
            parameters["password"] = secret.reveal()
        place = parameters.get("host") or parameters.get("hostaddr") or "its socket"
        self._where = f"PostgreSQL at {place}:{parameters.get('port') or 5432}"
        try:
            connection = _Connection.connect(autocommit=True, prepare_threshold=None, **parameters)
        except psycopg.Error as error:
            raise SinkError(
                f"cannot connect to {self._where}: {_sentence(error)}", retriable=True
            ) from None  # what is behind it holds the parameters
        try:
            connection.clock = self._clock
            connection.deadline = self._clock() + options.timeout_s
            self._prepare(connection)
        except TimeoutError:
            connection.close()
            raise SinkError(f"{self._where} does not answer", retriable=True) from None
        except psycopg.Error as error:
            connection.close()
            raise SinkError(f"{self._where}: {_sentence(error)}", retriable=True) from error
        except SinkError:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: _Connection) -> None:
        version = connection.info.server_version
        if version < MIN_SERVER_VERSION:
            raise SinkError(
                f"{self._where} is of version {version // 10_000}, and this sink needs 14 or later",
                retriable=True,
            )
        timeout_ms, lock_ms = (
            round(seconds * 1e3)
            for seconds in (self._options.timeout_s, self._options.lock_timeout_s)
        )
        connection.execute(
            f"set statement_timeout = {timeout_ms}; set lock_timeout = {lock_ms}; "
            f"set idle_in_transaction_session_timeout = {timeout_ms}; "
            # what a crash of the server may take back would be lost to us
            f"select set_config('synchronous_commit', 'on', false) "
            f"where current_setting('synchronous_commit') = 'off'".encode()
        )


def _sentence(error: psycopg.Error) -> str:
    """What happened, in one line."""
    text = str(error).strip().partition("\n")[0].removeprefix("connection failed: ")
    meaning = _MEANING.get(error.sqlstate or "")
    if meaning is None:
        return text or type(error).__name__
    return f"{meaning}: {text}"
