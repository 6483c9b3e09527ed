"""`planner explain N`: one decision in words, from its record alone."""

import json
from typing import Any

from campaign.provenance import source_of
from campaign.terminal import plain


def explain(data: dict[str, Any], source: str) -> str:
    """A page about a decision, from its record; `source` as it stands now."""
    plan, own = data["plan"], data["rules"]
    lines = [
        f"iteration {data['iteration']}: {data['action']}  (source: {source})",
        f"  reason     {plain(plan['reason'], 600)}",
        *(f"  evidence   {e['key']} = {plain(str(e['value']), 200)}" for e in plan["evidence"]),
        *_section(plan[data["action"]]),
        f"  at most    {_cost(data['cost'])}",
        *_compared(data, own),
        *_gates(data["gates"]),
        *_dialogue(data),
        *(
            f"  untrusted  {origin}: {json.dumps(text, ensure_ascii=False)}"
            for origin, text in data.get("untrusted", {}).items()
        ),
        f"  from       {_origin(data)}",
    ]
    if "overrules" in data:
        before = data["overrules"]
        lines.append(f"  overrules  {before['action']}  (source: {source_of(before)})")
    return "\n".join(lines)


def _origin(data: dict[str, Any]) -> str:
    names = ("state", "config", "task", "plan")
    return ", ".join(f"{name} {data[f'{name}_sha256'][:12]}" for name in names)


def _section(section: dict[str, Any]) -> list[str]:
    shown = {k: v for k, v in section.items() if k != "seed"}
    return [f"  {k:<10} {json.dumps(v, ensure_ascii=False)}" for k, v in shown.items()]


def _cost(cost: dict[str, Any]) -> str:
    return (
        f"{cost['labels']} labels, {cost['reference_calls']} reference calls,"
        f" {cost['core_seconds'] / 3600:.2f} core-hours of them, {cost['md_steps']} MD steps"
    )


def _compared(data: dict[str, Any], own: dict[str, Any]) -> list[str]:
    if data["source"].startswith("rules"):
        return []
    if own["agrees"] and own["same_parameters"]:
        return [f"  rules      the same ({own['rule']})"]
    what = "the same action otherwise" if own["agrees"] else own["action"]
    return [
        f"  rules      {what} ({own['rule']}): {plain(own['reason'], 300)}",
        f"             {_cost(own['cost'])}",
    ]


def _gates(gates: list[dict[str, Any]]) -> list[str]:
    loud = [g for g in gates if g["verdict"] != "pass"]
    passed = len(gates) - len(loud)
    lines = [f"  {g['verdict']:<10} {g['gate']}: {plain(g['detail'], 300)}" for g in loud]
    return [*lines, f"  gates      {passed} passed"]


def _dialogue(data: dict[str, Any]) -> list[str]:
    lines = []
    for number, exchange in enumerate(data.get("exchanges", []), start=1):
        reply = exchange["response"] or {}
        outcome = exchange["failure"] or plain(str(reply.get("stop_reason")), 40)
        lines.append(
            f"  call {number:<5} {exchange['role']}: {outcome}, {max(1, len(exchange['tries']))}"
            f" tries, request {exchange['request_sha256'][:12]}"
        )
        lines += [f"             fault: {plain(text, 300)}" for text in exchange["faults"]]
    if lines:
        used = data["used"]
        lines.append(
            f"  used       {used['tokens']} tokens, {used['money']:.4f} USD"
            f" (asked {data['model_asked']}, effort {data['effort']}, host {data.get('host')})"
        )
    return lines
