"""Two witnesses and a time-stamping authority beside the demo's ledger: real processes, real protocols, no independence.

In earnest each of them is somebody else's. Here one operator runs all four on one machine with one clock, so that they
show how the proofs come about and add nothing to what they prove; whatever the demo prints about them says so.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platemark import statement, tlog_proof
from platemark_ledger.demo.place import DemoError, Place
from platemark_ledger.demo.process import started

if TYPE_CHECKING:
    from platemark.evidence import Evidence
    from platemark.rpc.sync import LedgerClient
    from platemark_ledger.founding import Founded

__all__ = ["LABEL", "Peers", "running", "until_published"]

LABEL = "demo, one operator, no independence"
_WITNESSES = ("north", "south")
_PATIENCE = 60.0
_PAUSE = 0.1


@dataclass(frozen=True)
class Peers:
    """Who runs beside the ledger; `pids` by what they are."""

    witnesses: tuple[str, ...]
    authority: str
    pids: dict[str, int]


@contextmanager
def running(place: Place, founded: Founded) -> Iterator[Peers]:
    """Witnesses and an authority inside the block, written into the ledger's configuration and the trust file.

    Before the ledger is served. Raises DemoError when one of them does not come up, or does not end well.
    """
    with ExitStack() as opened:
        urls, vkeys, pids = [], [], {}
        for name in _WITNESSES:
            directory = place.peers / name
            made = _platemark("witness", "init", str(directory), "--name", f"{name}.demo.example/witness", "--json")
            _platemark("witness", "add-log", str(directory), founded.vkey, "--json")
            command = ["-m", "platemark", "witness", "serve", str(directory), "--listen", "127.0.0.1:0", "--json"]
            said, pids[f"witness {name}"] = opened.enter_context(started(command, place.peers / f"{name}.log"))
            urls.append(str(said["url"]))
            vkeys.append([str(each) for each in made["vkeys"]])
        command = [
            "-m",
            "platemark_ledger.demo.tsa",
            "--directory",
            str(place.peers / "tsa"),
            "--listen",
            "127.0.0.1:0",
        ]
        authority, pids["authority"] = opened.enter_context(started(command, place.peers / "tsa.log"))
        policy = place.peers / "witness-policy.txt"
        policy.write_text(_policy(vkeys, urls), encoding="utf-8")
        _configure(founded, policy, authority)
        _trust(place, _policy(vkeys, [""] * len(vkeys)), Path(str(authority["root"])))
        yield Peers(_WITNESSES, str(authority["label"]), pids)


def until_published(client: LedgerClient, id: bytes) -> Evidence:
    """The evidence of a statement once it carries all that it can. Raises DemoError.

    A witnessed checkpoint, a time stamp, and a statement about the keys that is later than this one.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        given = client.evidence(id=id).content
        witnessed = b"demo.example/witness" in given.record.proof
        if witnessed and given.stamped is not None and _keys_stated_since(given):
            return given
        if time.monotonic() > deadline:
            raise DemoError(
                f"nothing witnessed, time-stamped and with its keys stated within {_PATIENCE:g} s: see peers"
            )
        time.sleep(_PAUSE)


def _keys_stated_since(given: Evidence) -> bool:
    if given.keystate is None:
        return False
    size = statement.decode(given.keystate.proven.statement).payload["size"]
    return isinstance(size, int) and size > tlog_proof.parse(given.record.proof).index


def _platemark(*words: str) -> dict[str, Any]:
    """What a command of `platemark` says, as JSON."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "platemark", *words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoError(f"platemark {' '.join(words[:2])}: {done.stderr.strip()}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _policy(vkeys: Sequence[Sequence[str]], urls: Sequence[str]) -> str:
    """Both witnesses, each by either of its keys (c2sp.org/tlog-policy)."""
    lines = [f"# {LABEL}"]
    for name, keys, url in zip(_WITNESSES, vkeys, urls, strict=True):
        members = [f"{name}-{number}" for number in range(len(keys))]
        lines += [f"witness {member} {vkey} {url}".rstrip() for member, vkey in zip(members, keys, strict=True)]
        lines.append(f"group {name} any {' '.join(members)}")
    lines += [f"group both all {' '.join(_WITNESSES)}", "quorum both", ""]
    return "\n".join(lines)


def _configure(founded: Founded, policy: Path, authority: dict[str, Any]) -> None:
    """More settings for the ledger: at the end of its file, which has no tables."""
    with founded.config.open("a", encoding="utf-8") as config:
        config.write(
            f"\n# {LABEL}\nwitness_policy = {json.dumps(str(policy.resolve()))}\ntsa = [{json.dumps(authority['url'])}]\n"
            f"tsa_crl = [{json.dumps(str(Path(authority['crl']).resolve()))}]\ntsa_interval = 1.0\npublish_interval = 0.2\n"
            "keystate_interval = 2.0\n"
        )


def _trust(place: Place, policy: str, root: Path) -> None:
    """The trust file of the demo: the ledger's own, with the witnesses and the authority of this machine."""
    encoded = base64.b64encode(root.read_bytes()).decode()
    with place.trust.open("a", encoding="utf-8") as trust:
        trust.write(
            f"post_quantum = true\nwitness_policy = '''\n{policy}'''\n\n"
            f'[[tsa]] # {LABEL}\nname = "the demo\'s own authority"\nroots = ["{encoded}"]\n'
        )
