"""The settings of a ledger: frozen, each with its unit, its default and the reason for it."""

from __future__ import annotations

import dataclasses
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from platemark.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ConfigError", "Described", "Settings", "check_url", "describe", "is_loopback", "parse_address"]


class ConfigError(FormatError):
    """A setting that cannot be used; `field` is its name."""

    code = "config"


def _setting(
    default: Any,  # of the field's type, which mypy checks there
    *,
    unit: str,
    why: str,
    least: float | None = None,
    most: float | None = None,
) -> Any:
    return dataclasses.field(default=default, metadata={"unit": unit, "why": why, "least": least, "most": most})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that an operator can set. Checked when made: a Settings that exists is usable together."""

    origin: str = _setting(
        "", unit="name", why="of the log, as leaf 0 states it and every checkpoint repeats it. Never changes."
    )
    data: Path = _setting(
        Path("data"),
        unit="directory",
        why="the LMDB store and its lock. A local disk whose fsync is honest; never a network file system.",
    )
    anchor: Path = _setting(
        Path("anchor/checkpoint"),
        unit="file",
        why="the newest released checkpoint. Put it on another disk than data, outside its backups: it is what tells a "
        "restored backup from the present.",
    )
    log_key: Path = _setting(
        Path("keys/log.key"),
        unit="file",
        why="signs checkpoints (Ed25519, PKCS#8 PEM). The passphrase comes from PLATEMARK_LEDGER_LOG_KEY_PASSPHRASE or the "
        "file named by PLATEMARK_LEDGER_LOG_KEY_PASSPHRASE_FILE.",
    )
    listen: str = _setting(
        "127.0.0.1:50151",
        unit="address:port",
        why="where gRPC is served; port 0 takes a free one and prints it. Anything but loopback needs TLS.",
    )
    tls_certificate: Path | None = _setting(
        None, unit="file", why="PEM chain, server first. Together with tls_key; plain text is refused outside loopback."
    )
    tls_key: Path | None = _setting(
        None, unit="file", why="PEM private key of tls_certificate, unencrypted, mode 0600."
    )
    tls_client_ca: Path | None = _setting(
        None, unit="file", why="PEM. When set, a caller without a certificate from it cannot connect."
    )
    workers: int = _setting(
        1,
        unit="processes",
        why="they share the port (SO_REUSEPORT) and take turns at the log. One per core pays off when checking signatures is "
        "the bottleneck.",
        least=1,
        most=64,
    )
    verify_threads: int = _setting(
        2,
        unit="threads per worker",
        why="check signatures beside the event loop; cryptography lets go of the interpreter lock meanwhile.",
        least=1,
        most=64,
    )
    max_batch: int = _setting(
        1024,
        unit="statements per Append",
        why="bounds the work that one call may ask for.",
        least=1,
        most=16384,
    )
    max_request: int = _setting(
        16 * 1024 * 1024,
        unit="bytes",
        why="of one request message. 256 statements of the usual 700 bytes need 0.2 MiB; 256 of the greatest size 15 MiB.",
        least=64 * 1024,
        most=256 * 1024 * 1024,
    )
    max_calls: int = _setting(
        512,
        unit="calls per worker",
        why="under way at once. Further ones get UNAVAILABLE, which is better than a queue that outlives deadlines.",
        least=1,
        most=65536,
    )
    max_page: int = _setting(
        100, unit="statements", why="in one page of Lookup; each comes with its path.", least=1, most=1000
    )
    max_list: int = _setting(
        10_000,
        unit="statements",
        why="in one ListStatements call; the caller goes on where it ended.",
        least=1,
        most=1_000_000,
    )
    max_lists: int = _setting(
        16,
        unit="calls per worker",
        why="of ListStatements under way at once. Each holds up to 1 MiB for a reader that does not read; further ones get "
        "UNAVAILABLE.",
        least=1,
        most=65536,
    )
    list_time: float = _setting(
        60.0,
        unit="seconds",
        why="that one ListStatements call goes on, for a slow reader or a rare match; the caller goes on where it ended.",
        least=0.0,
        most=3600.0,
    )
    connection_age: float = _setting(
        600.0,
        unit="seconds",
        why="after which a connection is asked to end and calls on it have the drain time left; clients connect again unnoticed. "
        "It is what gets rid of a caller that takes no answers, and spreads callers over workers anew.",
        least=1.0,
        most=86400.0,
    )
    max_unread: int = _setting(
        128 * 1024 * 1024,
        unit="bytes per worker",
        why="of answers that wait for callers to take them. Further reads get UNAVAILABLE; an append never does, its statements "
        "are in the log by then. A byte here is up to three in memory.",
        least=1024 * 1024,
        most=16 * 1024 * 1024 * 1024,
    )
    queue: int = _setting(
        8192,
        unit="statements per worker",
        why="that wait for a commit. Further ones get UNAVAILABLE; at 10,000 a second this is under a second's work.",
        least=1,
        most=1_000_000,
    )
    # AppendStream (streaming.py, boundary.py).
    stream_queue: int = _setting(
        2048,
        unit="statements per worker",
        why="of all streams that wait for a commit at once: one batch being committed and the next. It is beside queue, so that "
        "Append has room of its own; streams wait for their turn instead of failing.",
        least=256,
        most=1_000_000,
    )
    stream_window: int = _setting(
        1024,
        unit="statements",
        why="of one stream that may wait for answers before its next request is read. With 4 MiB, and one request more, this is "
        "what a stream can make the ledger keep.",
        least=1,
        most=65536,
    )
    max_streams: int = _setting(
        1024,
        unit="streams per worker",
        why="of AppendStream at once, beside max_calls. Further ones get UNAVAILABLE. One that is idle costs some 50 kB.",
        least=1,
        most=65536,
    )
    caller_streams: int = _setting(
        16,
        unit="streams per worker",
        why="of one caller: a certificate, or an address where callers show none. Set it higher when many devices share an "
        "address.",
        least=1,
        most=65536,
    )
    stream_idle: float = _setting(
        60.0,
        unit="seconds",
        why="without a request and with nothing unanswered, after which a stream is ended.",
        least=0.1,
        most=3600.0,
    )
    stream_stall: float = _setting(
        20.0,
        unit="seconds",
        why="that a client may take to accept an answer before its stream is ended: a slow reader holds what it is owed.",
        least=0.1,
        most=600.0,
    )
    stream_age: float = _setting(
        20.0,
        unit="seconds",
        why="after which a stream is ended and its client opens another. Keep it under drain, which is what calls have left when "
        "their connection is of age.",
        least=0.1,
        most=3600.0,
    )
    drain: float = _setting(
        30.0,
        unit="seconds",
        why="that accepted calls have to finish after SIGTERM, or once their connection is of age. Keep it under the patience of "
        "what sends the signal.",
        least=0.0,
        most=600.0,
    )
    lock_limit: float = _setting(
        10.0,
        unit="seconds",
        why="that a worker may hold the sequencer's lock before the supervisor ends it. A commit takes milliseconds; a disk that "
        "needs longer than this is broken.",
        least=1.0,
        most=600.0,
    )
    reflection: bool = _setting(
        default=True,
        unit="switch",
        why="lets grpcurl and its like discover the service. It shows nothing that ledger.proto does not.",
    )
    # The read side over HTTP (readside.py).
    http_listen: str | None = _setting(
        None,
        unit="address:port",
        why="where checkpoint, tiles and metrics are read over HTTP; nothing when not set. Hashes only, no statement. Plain on "
        "loopback, for a reverse proxy; elsewhere HTTPS with tls_certificate and tls_key.",
    )
    http_connections: int = _setting(
        256,
        unit="connections per worker",
        why="on http_listen at once. Further ones are closed at once; each is closed after a minute, whoever reads slowly.",
        least=1,
        most=65536,
    )
    # Published checkpoints (publisher.py).
    log_key_pq: Path | None = _setting(
        None,
        unit="file",
        why="signs published checkpoints a second time (ML-DSA-44, PKCS#8 PEM, the passphrase of log_key). Published ones have "
        "no post-quantum signature when not set.",
    )
    publish_interval: float = _setting(
        1.0,
        unit="seconds",
        why="between published checkpoints while the log grows. Who waits for witnesses does not wait for it.",
        least=0.05,
        most=3600.0,
    )
    witness_policy: Path | None = _setting(
        None,
        unit="file",
        why="C2SP tlog-policy: the witnesses, where each is asked, and the quorum. Without its quorum nothing is published as "
        "witnessed. Not set: nobody is asked.",
    )
    witness_timeout: float = _setting(
        5.0,
        unit="seconds",
        why="that one witness has to answer. A late answer is lost and asked for again in the next round.",
        least=0.1,
        most=60.0,
    )
    witness_start_check: bool = _setting(
        default=True,
        unit="switch",
        why="asks the witnesses before serving what they have seen, and refuses to start on an older past. A witness that does "
        "not answer in time stops nothing.",
    )
    tsa: tuple[str, ...] = _setting(
        (),
        unit="URLs",
        why="of RFC 3161 time-stamping authorities, each of which stamps published checkpoints. Two are better than one.",
    )
    tsa_crl: tuple[str, ...] = _setting(
        (),
        unit="absolute paths or URLs",
        why="of the authorities' certificate revocation lists (DER), stored with each stamp: later nobody could tell any more "
        "that a signer was good at the time.",
    )
    tsa_interval: float = _setting(
        60.0,
        unit="seconds",
        why="between time stamps while the log grows. It bounds how much later than its receipt a statement is proven to have "
        "existed; a stamp a second would be some 250 MiB a day and an unkind load on the authority.",
        least=1.0,
        most=86400.0,
    )
    tsa_timeout: float = _setting(
        10.0,
        unit="seconds",
        why="that one authority has to answer.",
        least=0.1,
        most=120.0,
    )
    # Keystates (keystates.py).
    keystate_interval: float = _setting(
        3600.0,
        unit="seconds",
        why="the greatest age of the log's own statement of which keys it holds for valid; one follows every change of keys as "
        "well. It is what lets evidence say that a key had not been revoked. 0: none is made.",
        least=0.0,
        most=86400.0,
    )

    access: Path | None = _setting(
        None,
        unit="file",
        why="TOML: which certificates have the roles writer, reader and operator; read again when it changes. Without it, plain "
        "text on loopback has every role; under TLS a certificate of tls_client_ca has writer and reader, and nobody lists.",
    )
    tls_client_crl: Path | None = _setting(
        None,
        unit="file",
        why="revocation lists of tls_client_ca, PEM or DER; read again when it changes. A revoked certificate is "
        "refused with its next call.",
    )
    access_log: Path | None = _setting(
        None,
        unit="directory",
        why="of chained records of every read of a statement, on the disk before the answer leaves (`init` sets it). When it "
        "cannot be written reads are refused, appends go on.",
    )
    access_log_file: int = _setting(
        64 * 1024 * 1024,
        unit="bytes",
        why="after which the next file of the access log begins. A record takes about 0.4 kB.",
        least=4096,
        most=1024 * 1024 * 1024,
    )

    def __post_init__(self) -> None:
        for described in describe(self):
            _check_range(described)
        host, _ = self.address
        if not self.origin:
            raise ConfigError("origin", "missing: the name of the log, as `platemark-ledger init` wrote it")
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_certificate"
            raise ConfigError(missing, "certificate and key go together, and only the other one is set")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ConfigError("tls_client_ca", "it needs tls_certificate and tls_key")
        if self.tls_client_crl is not None and self.tls_client_ca is None:
            raise ConfigError("tls_client_crl", "it needs tls_client_ca, whose certificates it revokes")
        if self.tls_certificate is None and not is_loopback(host):
            raise ConfigError("listen", f"{host} is not loopback and there is no TLS: set tls_certificate and tls_key")
        if self.data == self.anchor or self.data in self.anchor.parents:
            raise ConfigError(
                "anchor", "it is inside data, so that restoring a backup of data would take it back as well"
            )

        self._check_publishing()

    def _check_publishing(self) -> None:
        http = self.http_address
        if self.tls_certificate is None and http is not None and not is_loopback(http[0]):
            raise ConfigError(
                "http_listen", f"{http[0]} is not loopback and there is no TLS: set tls_certificate and tls_key"
            )
        for url in self.tsa:
            check_url("tsa", url)
        if len(set(self.tsa)) != len(self.tsa):
            raise ConfigError("tsa", "one authority is named twice")
        if len(self.tsa_crl) > 16:  # rule Z12: a verifier refuses more beside one stamp
            raise ConfigError("tsa_crl", f"{len(self.tsa_crl)} of them, more than 16")
        for place in self.tsa_crl:
            if "://" not in place and not place.startswith("/"):
                raise ConfigError("tsa_crl", f"{place!r} is neither an absolute path nor an http or https URL")
            if not place.startswith("/"):
                check_url("tsa_crl", place)

    @property
    def lock(self) -> Path:
        """The lock file: beside the data, so that every process that opens the one finds the other."""
        return self.data.with_name(f"{self.data.name}.lock")

    @property
    def keystate_seat(self) -> Path:
        """The file by which workers agree on who logs keystates; beside the data as well."""
        return self.data.with_name(f"{self.data.name}.keystates")

    @property
    def seat(self) -> Path:
        """The file of the publisher's seat, beside the data as well."""
        return self.data.with_name(f"{self.data.name}.seat")

    @property
    def rollback(self) -> Path:
        """The mark that a witness has shown another past; beside the data as well."""
        return self.data.with_name(f"{self.data.name}.rollback")

    @property
    def address(self) -> tuple[str, int]:
        """Host (without brackets) and port of `listen`."""
        return parse_address("listen", self.listen)

    @property
    def http_address(self) -> tuple[str, int] | None:
        """Host (without brackets) and port of `http_listen`, or None."""
        return None if self.http_listen is None else parse_address("http_listen", self.http_listen)


@dataclass(frozen=True, slots=True)
class Described:
    """One setting, as `platemark-ledger config` prints it."""

    name: str
    value: object
    default: object
    unit: str
    why: str
    least: float | None
    most: float | None

    @property
    def bounds(self) -> str:
        """`1 to 64`, digit by digit; empty where every value of the type will do."""
        return "" if self.least is None or self.most is None else f"{_number(self.least)} to {_number(self.most)}"


def describe(settings: Settings) -> Iterator[Described]:
    """Every setting in the order of reading, with its effective value."""
    for field in dataclasses.fields(settings):
        about = field.metadata
        yield Described(
            name=field.name,
            value=getattr(settings, field.name),
            default=field.default,
            unit=about["unit"],
            why=about["why"],
            least=about["least"],
            most=about["most"],
        )


def _check_range(described: Described) -> None:
    value = described.value
    if described.least is None or described.most is None:
        return
    assert isinstance(value, int | float)
    # Written so that nan, which compares false with everything, is refused.
    if not described.least <= value <= described.most:
        raise ConfigError(described.name, f"{value} is not within {described.bounds} {described.unit}")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def parse_address(field: str, text: str) -> tuple[str, int]:
    """Host (without brackets) and port of `address:port`. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(field, f"{text!r} is not address:port")
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise ConfigError(field, "the address is missing; 127.0.0.1 is loopback, 0.0.0.0 every interface")
    return host, int(port)


def check_url(field: str, url: str) -> None:
    """Raises ConfigError unless it is an http or https URL that anybody may see: logs and metrics name it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigError(field, "not a URL") from None
    if parts.username is not None or parts.password is not None:
        # Not shown: it is what the error is about.
        raise ConfigError(field, "a URL with a user name or password in it; logs and metrics would show them")
    if not usable:
        raise ConfigError(field, f"{url!r} is not an http or https URL")


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
