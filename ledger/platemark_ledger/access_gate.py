"""Whether a caller may make a call, and the record of it when it reads statements.

Asked by the boundary for every call of the ledger, so that a role or a certificate that is taken away is gone with the next
call, not with the connection.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from platemark import evidence, tlog_proof
from platemark_ledger.access import EVERY_ROLE, Access, Role, Rule, read_access, rule_of
from platemark_ledger.access_crl import Revoked, read_lists
from platemark_ledger.access_peer import Peer, peer_of
from platemark_ledger.accesslog import AccessLogError, runs
from platemark_ledger.accesslog_writer import AccessLog
from platemark_ledger.status import CallError
from platemark_ledger.watched import Watched

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

    from platemark_ledger.settings import Settings

    _Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["Gate", "Passage", "open_gate"]

_log = logging.getLogger("platemark.access")
# What of a request goes into a record: enough for a digest, an id, the URI of a device.
_MAX_TEXT = 256
# Whoever has a certificate of the authority, where no access file says more. Not operator: listing shows everything at once.
_WITHOUT_FILE = frozenset({Role.WRITER, Role.READER, Role.PUBLIC})


class Gate:
    """Owned by the event loop of the server.

    `roles` says what a caller has; `revoked` what is no longer believed; `log` None: reads are not recorded.
    """

    def __init__(
        self,
        *,
        roles: Callable[[Peer | None], frozenset[Role]],
        revoked: Watched[Revoked] | None,
        log: AccessLog | None,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._roles = roles
        self._revoked = revoked
        self._log = log
        self._clock = clock
        self._overdue = False

    async def admit(self, method: str, request: Message, context: _Context) -> Passage:
        """The passage of a call that may be made. Raises CallError: no certificate, one that is bad now, no such role."""
        rule = rule_of(method, request)
        peer = _peer(context.auth_context())
        roles = self._roles(peer)
        fields = _fields(method, request, peer, roles, context.peer())
        passage = Passage(self._log if rule.recorded else None, fields)
        try:
            self._check(rule, peer, roles)
        except CallError as error:
            if peer is not None:
                await passage.refused(error.code.upper().replace("-", "_"))
            raise
        return passage

    def caller(self, context: _Context) -> str:
        """Whom the streams of a call count against: a certificate, else an address without its port.

        Raises CallError: a certificate that cannot be read.
        """
        peer = _peer(context.auth_context())
        if peer is not None:
            return peer.name or peer.fingerprint
        address = context.peer()
        return address if address.startswith("unix:") else address.rpartition(":")[0]

    def close(self) -> None:
        """After the last call: what waits to be recorded is."""
        if self._log is not None:
            self._log.close()

    def _check(self, rule: Rule, peer: Peer | None, roles: frozenset[Role]) -> None:
        if peer is not None:
            self._check_certificate(peer)
        if rule.role in roles:
            return
        if peer is None:
            raise CallError(
                "unauthenticated", f"this call needs the role {rule.role} and a certificate that has it", role=rule.role
            )
        raise CallError("missing-role", f"{peer.name or 'this caller'} has not the role {rule.role}", role=rule.role)

    def _check_certificate(self, peer: Peer) -> None:
        """What TLS has checked at the handshake and what may have changed since: a connection may last."""
        now = self._clock()
        if not peer.not_before <= now <= peer.not_after:
            raise CallError("bad-certificate", "the certificate is not valid at this time")
        if self._revoked is None:
            return
        revoked = self._revoked.value
        if revoked.holds(peer.issuer, peer.serial):
            raise CallError("bad-certificate", "the certificate is revoked")
        overdue = revoked.due is not None and revoked.due < now
        if overdue and not self._overdue:
            _log.error("ALARM: a list in tls_client_crl was due to be replaced at %s; it stays in force", revoked.due)
        self._overdue = overdue


class Passage:
    """One call that may be made. `log` None: nothing of it is recorded."""

    def __init__(self, log: AccessLog | None, fields: Mapping[str, Any]) -> None:
        self._log = log
        self._fields = fields

    async def answered(self, message: Message) -> None:
        """Returns when it is on the disk that this answer was given. Raises CallError when it cannot be; then give none."""
        if self._log is None:
            return
        try:
            await self._record(self._log, "OK", _indices(message))
        except AccessLogError:
            raise CallError(
                "access-log", "reads cannot be recorded now, and unrecorded ones are not answered; send again"
            ) from None

    async def refused(self, reason: str) -> None:
        """Record, if that is possible, that no answer was given: nothing was shown, so that the call need not wait for more."""
        if self._log is None:
            return
        try:
            await self._record(self._log, reason, ())
        except AccessLogError:
            return  # the alarm is the log's own

    async def _record(self, log: AccessLog, outcome: str, indices: tuple[int, ...]) -> None:
        await asyncio.wrap_future(log.record({**self._fields, "indices": runs(indices), "outcome": outcome}))


def open_gate(settings: Settings) -> Gate:
    """The gate of these settings. Raises ConfigError naming the file that cannot be used."""
    revoked = None
    if settings.tls_client_crl is not None:
        assert settings.tls_client_ca is not None
        revoked = Watched("tls_client_crl", [settings.tls_client_crl, settings.tls_client_ca], read_lists)
    roles = _roles(settings)
    log = None
    if settings.access_log is not None:
        log = AccessLog(settings.access_log, file_size=settings.access_log_file)
    return Gate(roles=roles, revoked=revoked, log=log, clock=lambda: dt.datetime.now(dt.UTC))


def _roles(settings: Settings) -> Callable[[Peer | None], frozenset[Role]]:
    if settings.access is not None:
        if settings.tls_client_ca is None:
            _log.warning(
                "access without tls_client_ca: nobody can show a certificate, so that only public calls are answered"
            )
        access: Watched[Access] = Watched("access", [settings.access], read_access)
        return lambda peer: access.value.roles(peer)  # noqa: PLW0108 - asked at every call, not bound once
    if settings.tls_certificate is None:
        return lambda _: EVERY_ROLE  # loopback: see Settings
    return lambda peer: frozenset({Role.PUBLIC}) if peer is None else _WITHOUT_FILE


def _peer(auth_context: Mapping[str, Any]) -> Peer | None:
    try:
        return peer_of(auth_context)
    except ValueError:
        raise CallError("bad-certificate", "the certificate cannot be read") from None


def _fields(method: str, request: Message, peer: Peer | None, roles: frozenset[Role], address: str) -> dict[str, Any]:
    return {
        "who": "" if peer is None else peer.name,
        "certificate": "" if peer is None else peer.fingerprint,
        "peer": address,
        "roles": sorted(roles),
        "method": method,
        "asked": {field.name: _plain(value) for field, value in request.ListFields()},
    }


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value[: _MAX_TEXT // 2].hex()
    return value if isinstance(value, int) else str(value)[:_MAX_TEXT]


def _indices(message: Message) -> tuple[int, ...]:
    """The statements that an answer of the recorded methods shows; of a bundle also those that its proofs are for."""
    answer: Any = message
    names = {field.name for field in message.DESCRIPTOR.fields}
    if "statements" in names:
        return tuple(each.index for each in answer.statements)
    if "statement" in names:
        return (answer.statement.index,)
    shown = evidence.from_members({each.name: each.content for each in answer.members})
    return tuple(tlog_proof.parse(each.proof).index for each in (shown.record, *shown.enrolments, *shown.revocation))
