"""Starting with a mistake and stopping with traffic in flight."""

import http.client
import signal
import socket
from urllib.parse import urlsplit

import pytest

from conftest import sdk
from servers import HERE, call, seawall, wait_until

SERVE = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
UPSTREAM = ["--upstream", "http://127.0.0.1:9"]


def refuses(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        # It closed while this waited to be accepted: the next try tells.
        return False
    return False


def test_sigterm_lets_a_stream_finish(start, aimock, direct):
    def story(client):
        messages = [{"role": "user", "content": "Tell me a slow story."}]
        return client.chat.completions.create(model="gpt-test", messages=messages, stream=True)

    proxy = start(aimock.url)
    stream = story(sdk(proxy.url))
    chunks = [next(stream)]
    proxy.signal(signal.SIGTERM)
    wait_until(lambda: refuses(proxy.url), "the listener to close", 5)
    assert proxy.process.poll() is None
    chunks += stream
    assert chunks == list(story(direct))
    assert proxy.wait() == 0


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_seawall_stops_at_once(start, aimock, stop):
    proxy = start(aimock.url)
    # A client's idle connection is no traffic.
    idle = http.client.HTTPConnection(urlsplit(proxy.url).netloc)
    idle.request("GET", "/v1/models")
    idle.getresponse().read()
    proxy.signal(stop)
    assert proxy.process.wait(10) == 0


def test_health_and_readiness(proxy):
    assert call(proxy.admin, "GET", "/healthz").status == 200
    assert call(proxy.admin, "GET", "/readyz").status == 200


MISTAKES = {
    "no guard": ([*UPSTREAM, "--guard", "/nowhere"], ["/nowhere"]),
    "no ONNX Runtime": ([*UPSTREAM, "--ort-lib", "/nowhere"], ["/nowhere", "ort-lib"]),
    "no upstream": ([], ["--upstream"]),
    "no policy file": ([*UPSTREAM, "--policies", "/nowhere"], ["/nowhere"]),
    "a typo in a policy": ([*UPSTREAM, "--policies", HERE / "policies" / "typo.toml"], ["typo.toml:7", "`redact`"]),
    "a store that cannot be": ([*UPSTREAM, "--store", "sqlite:///nowhere/at/all.db"], ["/nowhere/at/all.db"]),
    "no such setting": ([*UPSTREAM, "--config", "settings.toml"], ["settings.toml:2", "`step_chars`"]),
}


@pytest.mark.parametrize(("arguments", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path, arguments, told):
    (tmp_path / "settings.toml").write_text("[stream]\nstep_char = 3\n")
    ended = seawall(*SERVE, *arguments, cwd=tmp_path)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("seawall: ")
    assert all(word in line for word in told), line


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = seawall("serve", "--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0", *UPSTREAM, cwd=tmp_path)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert str(port) in line and "--listen" in line


def test_check_says_that_all_is_fine_and_starts_nothing(tmp_path):
    ended = seawall(*SERVE, *UPSTREAM, "--check", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("fine: ")
