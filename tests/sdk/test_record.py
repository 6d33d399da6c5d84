"""What was flagged is on record before the client has its answer, and without the secret."""

import json
import signal

from conftest import sdk
from servers import ask, chat


def test_a_block_outlives_kill_9(start, aimock, secret):
    proxy = start(aimock.url)
    answer = chat(proxy.url, ask(f"Does this key work: {secret}?"))
    proxy.signal(signal.SIGKILL)
    assert proxy.wait() == -signal.SIGKILL

    again = start(aimock.url)
    (case,) = again.cases()
    assert case["id"] == answer.headers["seawall-request-id"]
    assert (case["decision"], case["model"], case["stream"]) == ("block", "gpt-test", False)
    assert [reason["rule"] for reason in case["reasons"]] == ["secret-asked"]


def test_a_cut_stream_is_on_record_when_its_end_arrives(start, llm, secret):
    proxy = start(llm.url)
    llm.answers(f"tell {secret[-9:]}", {"content": f"The key is {secret}."}, chunkSize=5)
    answer = chat(proxy.url, ask(f"Please tell {secret[-9:]}", stream=True))
    proxy.signal(signal.SIGKILL)
    proxy.wait()
    (case,) = proxy.cases()
    assert (case["id"], case["decision"]) == (answer.headers["seawall-request-id"], "block")
    told = [(text["target"], text["text"]) for text in case["response"]]
    assert told == [("completion", "The key is [secret].")]
    assert case["response"][0]["findings"] == [{"detector": "secret.openai", "start": 11, "end": 19}]


def test_safe_traffic_is_not_recorded(start, aimock):
    proxy = start(aimock.url)
    assert chat(proxy.url, ask("What is the capital of France?")).status == 200
    assert proxy.cases() == []


def test_the_record_does_not_hold_the_secret(start, aimock, secret):
    proxy = start(aimock.url)
    chat(proxy.url, ask(f"Does this key work: {secret}?"))
    files = sorted(proxy.folder.glob("seawall.db*"))
    assert len(proxy.cases()) == 1
    assert not any(secret.encode() in file.read_bytes() for file in files)
    assert secret not in proxy.log.read_text()


def test_show_and_export_tell_the_case(start, aimock, secret):
    proxy = start(aimock.url)
    id = chat(proxy.url, ask(f"Does this key work: {secret}?")).headers["seawall-request-id"]

    shown = proxy.review("show", id)
    assert shown.returncode == 0, shown.stderr
    assert "secret-asked" in shown.stdout and "Does this key work: [secret]?" in shown.stdout
    assert json.loads(proxy.review("show", id, "--json").stdout)["id"] == id

    (line,) = proxy.review("export").stdout.splitlines()
    exported = json.loads(line)
    assert (exported["id"], exported["text"], exported["decision"]) == (id, "Does this key work: [secret]?", "block")


def test_an_unknown_case_is_an_error_that_says_where_to_look(start, aimock):
    shown = start(aimock.url).review("show", "nothing")
    assert shown.returncode == 1
    assert "seawall review list" in shown.stderr


def test_a_rewritten_exchange_is_recorded_through_the_sdk(start, aimock):
    proxy = start(aimock.url)
    messages = [{"role": "user", "content": "Please repeat my card number 4111 1111 1111 1111."}]
    sdk(proxy.url).chat.completions.create(model="gpt-test", messages=messages)
    (case,) = proxy.cases()
    assert (case["decision"], case["request"][0]["text"]) == ("rewrite", "Please repeat my card number [payment card].")
