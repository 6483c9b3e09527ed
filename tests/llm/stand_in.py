"""A command with the local server in a model's place: `python -m tests.llm.stand_in MODULE WORDS`.

The server decides as the rules do, so this measures the harness (requests, tokens, latency of our
own side), not a model. Tokens are the upper bound that the budget uses: there is no tokenizer.
"""

import os
import runpy
import sys
from typing import Any

from campaign.situation import Situation
from planner.llm import consult
from planner.llm.digest import tokens_at_most
from planner.llm.requests import Request
from tests.llm.server import Double, serve


def main() -> None:
    """Run the module as `python -m` would, every request answered here."""
    for name in [n for n in os.environ if n.startswith("ANTHROPIC_")]:
        del os.environ[name]
    with serve() as double:
        os.environ["ANTHROPIC_BASE_URL"] = double.url
        consult.request = _told(double)
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _told(double: Double) -> Any:
    """`planner.llm.requests.request`, and the server learns what it will be asked about."""
    plain, answer = consult.request, double.proper

    def told(situation: Situation, *words: Any) -> Request:
        double.situation = situation
        sent = plain(situation, *words)

        def counted(body: dict[str, Any]) -> dict[str, Any]:
            message = answer(body)
            written = tokens_at_most(message["content"][-1]["text"])
            return {
                **message,
                "usage": {"input_tokens": sent.tokens_read, "output_tokens": written},
            }

        double.proper = counted  # type: ignore[method-assign]
        return sent

    return told


if __name__ == "__main__":
    main()
