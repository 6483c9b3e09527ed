"""The gateway to servers of chat completions: words are passed on, nothing is judged."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import anthropic
import pytest

from tests.llm.openai_gateway import gateway

SCHEMA = {"type": "object", "properties": {"action": {"type": "string"}}, "required": ["action"]}


class Chat(BaseHTTPRequestHandler):
    """Chat completions that answer one thing, or refuse."""

    asked: ClassVar[dict] = {}
    status = 200

    def do_POST(self) -> None:
        Chat.asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        choice = {"message": {"content": '{"action": "end"}'}, "finish_reason": "length"}
        usage = {"prompt_tokens": 12, "completion_tokens": 7}
        body = {"id": "c", "model": "m", "choices": [choice], "usage": usage}
        if Chat.status != 200:
            body = {"error": {"message": "the context window is full", "type": "invalid"}}
        self.send_response(Chat.status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *words: object) -> None:
        """Stay silent."""


@pytest.fixture
def client():
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Chat)]
    servers.append(gateway(f"http://127.0.0.1:{servers[0].server_port}", 0))
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{servers[1].server_port}"
    yield anthropic.Anthropic(api_key="none", base_url=url, max_retries=0)
    for server in servers:
        server.shutdown()


def ask(client: anthropic.Anthropic) -> anthropic.types.Message:
    blocks = [{"type": "text", "text": "state"}, {"type": "text", "text": "faults"}]
    return client.messages.create(
        model="smollm2",
        max_tokens=50,
        system="decide",
        messages=[{"role": "user", "content": blocks}],
        extra_body={"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    )


def test_a_request_and_its_schema_arrive_and_the_answer_is_a_message(client) -> None:
    message = ask(client)
    assert Chat.asked["messages"] == [
        {"role": "system", "content": "decide"},
        {"role": "user", "content": "state\n\nfaults"},
    ]
    assert Chat.asked["response_format"]["json_schema"]["schema"] == SCHEMA
    assert message.content[0].text == '{"action": "end"}'
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 7)


def test_an_error_keeps_its_status_and_words(client, monkeypatch) -> None:
    monkeypatch.setattr(Chat, "status", 400)
    with pytest.raises(anthropic.BadRequestError, match="context window"):
        ask(client)
