"""One worker process, as the supervisor starts it: settings on the first line of stdin, readiness on stdout.

The rest of stdin is a lifeline: it ends when the supervisor dies, whatever kills it, and then so does the worker. SIGTERM
drains. SIGINT is the supervisor's to handle.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import threading

from platemark.errors import FormatError, KeyFileError, PlatemarkError
from platemark_ledger import config
from platemark_ledger.errors import StartRefusedError, WrongLogKeyError
from platemark_ledger.exits import Exit
from platemark_ledger.server import serve
from platemark_ledger.settings import Settings

__all__ = ["main"]

_log = logging.getLogger("platemark.ledger")
# Beyond the drain time, before a worker whose supervisor is gone ends the hard way.
_EXTRA = 10.0


def main() -> int:
    """Serve until told to stop; the exit code says why it ended."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s worker %(process)d: %(message)s"
    )
    # Every request to a witness would be a line; the publisher says when something changes.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # What strangers send to an open port is no news; the read side answers it with 400.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    settings = config.from_json(sys.stdin.readline())
    # The commit thread and the examiners take turns at the interpreter; with the default of 5 ms a call that lets go of it for
    # a microsecond waits for its turn a thousand times as long.
    sys.setswitchinterval(0.0005)
    try:
        return asyncio.run(_work(settings))
    except StartRefusedError as error:
        _log.critical("the ledger does not start: %s", error)
        return Exit.USAGE if isinstance(error, WrongLogKeyError) else Exit.START_REFUSED
    except (FormatError, KeyFileError) as error:
        _log.critical("%s", error)
        return Exit.USAGE
    except PlatemarkError as error:
        _log.critical("%s", error)
        return Exit.FAILED


async def _work(settings: Settings) -> Exit:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_hold_lifeline, args=(loop, stop, settings.drain + _EXTRA), daemon=True).start()
    announce: asyncio.Future[str] = loop.create_future()
    announce.add_done_callback(_say_ready)
    return await serve(settings, config.passphrase(config.environment()), stop=stop, announce=announce, reuse_port=True)


def _say_ready(announce: asyncio.Future[str]) -> None:
    if not announce.cancelled():
        # What there is now stays until the end: modules, settings, message classes. The collector would walk through all of
        # it again and again, which takes as long as a tenth of the decoding of statements.
        gc.collect()
        gc.freeze()
        sys.stdout.write(json.dumps({"ready": announce.result()}) + "\n")
        sys.stdout.flush()


def _hold_lifeline(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, patience: float) -> None:
    # Through the descriptor: the text layer of sys.stdin has a lock that interpreter shutdown would wait for.
    while os.read(0, 4096):
        pass
    if not loop.is_closed():
        loop.call_soon_threadsafe(stop.set)
    # The loop may hang, which is why this is a thread: nobody is left who would end the process.
    threading.Event().wait(patience)
    os._exit(Exit.FAILED)


if __name__ == "__main__":
    _code = main()
    logging.shutdown()
    # Not sys.exit, which waits for threads: a commit that outlived the drain ends here, as in a crash, which is safe by design.
    os._exit(_code)
