"""The Messages API in front of a server of OpenAI's chat completions that can hold a schema.

    python -m tests.llm.openai_gateway http://127.0.0.1:8811 --port 8812

llama.cpp's server speaks the Messages API, but there it takes no schema for the answer; under
`/v1/chat/completions` it holds one by a grammar. This passes each request on in those words and
nothing else: `output_config.format` becomes `response_format`, texts are joined, an error keeps its
status. It has no clock, no retries and no judgement: those are the planner's, which is measured.
"""

import argparse
import http.client
import json
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STOP = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}


def as_chat(body: dict[str, Any]) -> dict[str, Any]:
    """A request of the Messages API as one of chat completions."""
    turns = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    for turn in body["messages"]:
        content = turn["content"]
        texts = [content] if isinstance(content, str) else [block["text"] for block in content]
        turns.append({"role": turn["role"], "content": "\n\n".join(texts)})
    chat = {"model": body["model"], "max_tokens": body["max_tokens"], "messages": turns}
    form = body.get("output_config", {}).get("format")
    if form is None:
        return chat
    held = {"name": "answer", "strict": True, "schema": form["schema"]}
    return {**chat, "response_format": {"type": "json_schema", "json_schema": held}}


def as_message(chat: dict[str, Any]) -> dict[str, Any]:
    """An answer of chat completions as a message."""
    choice, usage = chat["choices"][0], chat.get("usage", {})
    return {
        "id": chat.get("id", "none"),
        "type": "message",
        "role": "assistant",
        "model": chat.get("model", ""),
        "content": [{"type": "text", "text": choice["message"].get("content") or ""}],
        "stop_reason": STOP.get(choice.get("finish_reason"), "unexpected"),
        "usage": {
            "input_tokens": usage.get("prompt_tokens", 0),
            "output_tokens": usage.get("completion_tokens", 0),
        },
    }


class Gateway(BaseHTTPRequestHandler):
    """Answers POST /v1/messages from the server behind it (`server`, its base URL)."""

    server_behind = ""

    def do_POST(self) -> None:
        """Pass one request on."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = urllib.request.Request(
            f"{self.server_behind}/v1/chat/completions",
            json.dumps(as_chat(body)).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(asked) as reply:
                status, answer = 200, as_message(json.load(reply))
        except urllib.error.HTTPError as error:
            status, answer = error.code, {"type": "error", "error": _said(error.read())}
        except (urllib.error.URLError, http.client.HTTPException) as error:
            status, answer = 502, {"type": "error", "error": {"message": str(error)}}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _said(data: bytes) -> Any:
    try:
        return json.loads(data)["error"]
    except (ValueError, KeyError, TypeError):
        return {"message": data[:200].decode(errors="replace")}


def gateway(server: str, port: int) -> ThreadingHTTPServer:
    """The gateway, listening on this machine only; port 0 takes a free one."""
    handler = type("GatewayTo", (Gateway,), {"server_behind": server.rstrip("/")})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.llm.openai_gateway")
    parser.add_argument("server", help="base URL of the server behind")
    parser.add_argument("--port", type=int, default=8812)
    given = parser.parse_args()
    gateway(given.server, given.port).serve_forever()


if __name__ == "__main__":
    main()
