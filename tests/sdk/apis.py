"""The official SDKs, one shape for all: what a user sees of an answer, and the words each has for a refusal."""

import anthropic
import boto3
import cohere
import ollama
import openai
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from google import genai
from google.genai import errors, types


class Api:
    """An SDK pointed at a server. `whole` and `stream` give the text of an answer and how it ended."""

    # How a finished answer ends, and a refused prompt and a refused answer.
    done, prompt_refused, answer_refused = "stop", "content_filter", "content_filter"
    # What the SDK raises for a refused call, and within a stream.
    refused: type[Exception] = Exception
    broken: type[Exception] | None = Exception
    # Whether aimock speaks it as the SDK reads it; the others have `Small`.
    in_aimock = True

    def __init__(self, url: str):
        self.url = url


class Chat(Api):
    refused, broken = openai.BadRequestError, openai.APIError

    def __init__(self, url):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def create(self, prompt, **more):
        return self.client.chat.completions.create(
            model="gpt-test", messages=[{"role": "user", "content": prompt}], **more
        )

    def whole(self, prompt):
        choice = self.create(prompt).choices[0]
        return choice.message.content, choice.finish_reason

    def stream(self, prompt):
        text, end = "", None
        for chunk in self.create(prompt, stream=True):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                end = choice.finish_reason or end
        return text, end


class Responses(Chat):
    done, prompt_refused, answer_refused = "completed", "content_filter", "content_filter"

    def create(self, prompt, **more):
        return self.client.responses.create(model="gpt-test", input=prompt, **more)

    @staticmethod
    def end(response):
        return response.incomplete_details.reason if response.incomplete_details else response.status

    def whole(self, prompt):
        response = self.create(prompt)
        parts = [part for item in response.output if item.type == "message" for part in item.content]
        text = "".join(part.text if part.type == "output_text" else part.refusal for part in parts)
        return text, self.end(response)

    def stream(self, prompt):
        text, end, last = "", None, -1
        for event in self.create(prompt, stream=True):
            if event.sequence_number is not None:
                assert event.sequence_number > last, "events count up"
                last = event.sequence_number
            if event.type in ("response.output_text.delta", "response.refusal.delta"):
                text += event.delta
            if event.type in ("response.completed", "response.incomplete"):
                end = self.end(event.response)
        return text, end


class Completions(Chat):
    in_aimock = False

    def create(self, prompt, **more):
        return self.client.completions.create(model="gpt-test", prompt=prompt, **more)

    def whole(self, prompt):
        choice = self.create(prompt).choices[0]
        return choice.text, choice.finish_reason

    def stream(self, prompt):
        text, end = "", None
        for chunk in self.create(prompt, stream=True):
            for choice in chunk.choices:
                text += choice.text or ""
                end = choice.finish_reason or end
        return text, end


class Anthropic(Api):
    done, prompt_refused, answer_refused = "end_turn", "refusal", "refusal"
    refused, broken = anthropic.BadRequestError, anthropic.APIError

    def __init__(self, url):
        self.client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)

    @staticmethod
    def asked(prompt):
        return {"model": "claude-test", "max_tokens": 500, "messages": [{"role": "user", "content": prompt}]}

    def whole(self, prompt):
        message = self.client.messages.create(**self.asked(prompt))
        return self.text(message), message.stop_reason

    @staticmethod
    def text(message):
        return "".join(block.text for block in message.content if block.type == "text")

    def stream(self, prompt):
        with self.client.messages.stream(**self.asked(prompt)) as stream:
            text = "".join(stream.text_stream)
            message = stream.get_final_message()
        assert text == self.text(message)
        return text, message.stop_reason


class Gemini(Api):
    done, prompt_refused, answer_refused = "STOP", "SAFETY", "SAFETY"
    refused, broken = errors.ClientError, errors.APIError

    def __init__(self, url):
        self.client = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=url, api_version="v1beta"))

    @staticmethod
    def seen(answers):
        text, end = "", None
        for answer in answers:
            if answer.prompt_feedback:
                assert answer.prompt_feedback.block_reason.value == "SAFETY"
            for candidate in answer.candidates or []:
                parts = candidate.content.parts if candidate.content else None
                text += "".join(part.text or "" for part in parts or [] if not part.thought)
                end = candidate.finish_reason.value if candidate.finish_reason else end
        return text, end

    def whole(self, prompt):
        return self.seen([self.client.models.generate_content(model="gemini-test", contents=prompt)])

    def stream(self, prompt):
        return self.seen(self.client.models.generate_content_stream(model="gemini-test", contents=prompt))


class OllamaChat(Api):
    done, prompt_refused, answer_refused = "stop", "stop", "stop"
    refused = broken = ollama.ResponseError

    def __init__(self, url):
        self.client = ollama.Client(host=url)

    def answers(self, prompt, stream):
        return self.client.chat(model="llama-test", messages=[{"role": "user", "content": prompt}], stream=stream)

    @staticmethod
    def text(answer):
        return answer.message.content or ""

    def whole(self, prompt):
        answer = self.answers(prompt, False)
        assert answer.done
        return self.text(answer), answer.done_reason or "stop"

    def stream(self, prompt):
        lines = list(self.answers(prompt, True))
        assert [line.done for line in lines].index(True) == len(lines) - 1, "the last line, and no other, is the end"
        return "".join(map(self.text, lines)), lines[-1].done_reason or "stop"


class OllamaGenerate(OllamaChat):
    def answers(self, prompt, stream):
        return self.client.generate(model="llama-test", prompt=prompt, stream=stream)

    @staticmethod
    def text(answer):
        return answer.response or ""


class Cohere(Api):
    # Its v2 knows no way of ending that is a filter's.
    done, prompt_refused, answer_refused = "COMPLETE", "COMPLETE", "COMPLETE"
    refused = cohere.BadRequestError
    # Its SDK raises nothing within a stream; it is told of the error at the end.
    broken = None

    def __init__(self, url):
        self.client = cohere.ClientV2(api_key="none", base_url=url)

    @staticmethod
    def asked(prompt):
        return {"model": "command-test", "messages": [{"role": "user", "content": prompt}]}

    def whole(self, prompt):
        answer = self.client.chat(**self.asked(prompt))
        return "".join(part.text for part in answer.message.content if part.type == "text"), answer.finish_reason

    def stream(self, prompt):
        text, end = "", None
        for event in self.client.chat_stream(**self.asked(prompt)):
            if event.type == "content-delta":
                text += event.delta.message.content.text or ""
            if event.type == "message-end":
                end = event.delta.finish_reason
        return text, end


class Bedrock(Api):
    done, prompt_refused, answer_refused = "end_turn", "guardrail_intervened", "guardrail_intervened"
    refused, broken = ClientError, EventStreamError
    in_aimock = False

    def __init__(self, url):
        self.client = boto3.client(
            "bedrock-runtime",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="none",
            aws_secret_access_key="none",
            config=Config(retries={"max_attempts": 1}),
        )

    @staticmethod
    def asked(prompt):
        return {"modelId": "amazon.test-v1:0", "messages": [{"role": "user", "content": [{"text": prompt}]}]}

    def whole(self, prompt):
        answer = self.client.converse(**self.asked(prompt))
        return "".join(part["text"] for part in answer["output"]["message"]["content"]), answer["stopReason"]

    def stream(self, prompt):
        text, end = "", None
        for event in self.client.converse_stream(**self.asked(prompt))["stream"]:
            text += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
            end = event.get("messageStop", {}).get("stopReason", end)
        return text, end


APIS = [Chat, Responses, Completions, Anthropic, Gemini, OllamaChat, OllamaGenerate, Cohere, Bedrock]
