"""The load that the released program is laid out for: calls whose verdicts are known, whole and streamed, small and large, and
some that the guard has to judge. LLVM's BOLT counts meanwhile which code runs, and puts that together in the order in which it
runs: `deploy/install.mk`.

usage: SEAWALL=PROGRAM train.py
"""

import contextlib
import tempfile
from pathlib import Path

from load import body, load, script, warm
from servers import TINY_GUARD, answering, seawall

SECONDS = 2
STREAMED = {"accept": "text/event-stream"}
# Kilobytes of a call, whether its answer is streamed, and connections.
CASES = ((1, False, 16), (1, False, 256), (1, True, 16), (10, False, 16), (100, False, 16))


def main() -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(answering(folder))
        server = stack.enter_context(seawall("train", folder, upstream.address, TINY_GUARD))
        for size_kb, stream, connections in CASES:
            warm(server, body(size_kb, stream=stream), STREAMED if stream else {})
            load(server, script(folder, size_kb, stream), connections, SECONDS)
        load(server, script(folder, new=True), 16, SECONDS, may_refuse=True)


if __name__ == "__main__":
    main()
