"""An LLM server for benchmarks, in a process of its own: answers whole calls at once, and streams at a steady pace.

Each event of a stream says in its `id` when it was sent, so that whoever reads it knows how long it took to come through. Every
answer is the same, so that its verdicts are known once it was judged.

usage: llm.py PORT [--pace SECONDS] [--sentences N] [--whole N]
"""

import argparse
import asyncio
import json
import time

SENTENCES = (
    "The ferry to the islands leaves at nine from the pier beside the old fish market. ",
    "Lunch by the river costs little, and the noodle stalls are open until the evening. ",
    "In the afternoon the museum of boats is quiet, and children pay nothing to get in. ",
    "Take an umbrella along, since the rain comes quickly at this time of the whole year. ",
)
# Slots of the clock that all streams share: a timer for each stream would cost more than what it sends.
SLOTS = 100


def sentence(number: int) -> str:
    return f"{number + 1}. {SENTENCES[number % len(SENTENCES)]}"


def text(sentences: int) -> str:
    """All that a stream says."""
    return "".join(map(sentence, range(sentences)))


def event(choice: dict) -> bytes:
    """A chunk of a chunked body that carries an event; the time it is sent takes the place of `SENT`."""
    chunk = {"id": "SENT", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, **choice}]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Llm(asyncio.Protocol):
    """A connection of the proxy's."""

    def __init__(self, server: "Server"):
        self.server, self.seen, self.next = server, b"", 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, end, body = self.seen.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        if not end or len(body) < length:
            return
        self.seen = body[length:]
        if json.loads(body[:length]).get("stream"):
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            self.next = 0
            self.server.slots[self.server.turn % SLOTS].append(self)
        else:
            self.transport.write(self.server.whole)

    def send(self) -> bool:
        """Sends the next event; tells whether more follow."""
        events = self.server.events
        if self.transport.is_closing():
            return False
        sent = chunk(events[self.next].replace(b"SENT", b"%020d" % time.monotonic_ns()))
        self.next += 1
        is_last = self.next == len(events)
        self.transport.write(sent + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n" if is_last else sent)
        return not is_last


class Server:
    """What all connections share."""

    def __init__(self, pace: float, sentences: int, whole: int):
        self.pace, self.turn = pace, 0
        self.slots: list[list[Llm]] = [[] for _ in range(SLOTS)]
        self.events = [event({"delta": {"content": sentence(number)}, "finish_reason": None}) for number in range(sentences)]
        self.events.append(event({"delta": {}, "finish_reason": "stop"}))
        message = {"role": "assistant", "content": text(min(sentences, whole))}
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
        answer |= {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        answer |= {"usage": {"prompt_tokens": 20, "completion_tokens": 160, "total_tokens": 180}}
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.whole = head.encode() + body

    async def run(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Llm(self), "127.0.0.1", port, backlog=16_384)
        began = loop.time()
        while True:
            self.turn += 1
            await asyncio.sleep(max(0, began + self.turn * self.pace / SLOTS - loop.time()))
            slot = self.turn % SLOTS
            self.slots[slot] = [stream for stream in self.slots[slot] if stream.send()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--pace", type=float, default=1)
    parser.add_argument("--sentences", type=int, default=8)
    parser.add_argument("--whole", type=int, default=8, help="sentences of a whole answer, if a stream has as many")
    arguments = parser.parse_args()
    asyncio.run(Server(arguments.pace, arguments.sentences, arguments.whole).run(arguments.port))


if __name__ == "__main__":
    main()
