"""Lists and calls every tool of weir with Python's `mcp`, over stdio and over HTTP, with and without writes."""
import argparse
import asyncio

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

READS = {
    "get_pools": {}, "get_pool": {"pool": "web"}, "explain_pool": {"pool": "jobs"}, "get_workers": {"worker": "web-0"},
    "get_policies": {"policy": "guard"}, "get_metrics": {"policy": "guard"}, "get_history": {"policy": "nobody"},
    "get_forecast": {"policy": "guard"}, "get_queue": {"pool": "jobs"}, "get_task": {"task": 999999}, "get_events": {"limit": 3},
}
WRITES = {
    "submit_task": {"pool": "jobs", "payload": {"say": "hi"}, "hold": True}, "cancel_task": {}, "retry_task": {},
    "scale_pool": {"pool": "web", "replicas": 1}, "pause_pool": {"pool": "jobs", "resume": True},
    "set_mode": {"policy": "nobody", "mode": "Manual"}, "set_profile": {"policy": "guard", "profile": "Balanced"},
    "manual_limits": {"policy": "nobody", "memory": "1Gi"}, "set_thresholds": {"policy": "nobody", "scaleDown": {"memory": 20}},
}


def is_answered(name, arguments):
    """Nobody is the name of no policy, and no task has that number."""
    return arguments.get("policy") != "nobody" and arguments.get("task") != 999999


async def call(client, name, arguments):
    result = await client.call_tool(name, arguments)
    said = result.structured_content
    assert result.is_error != is_answered(name, arguments), f"{name} {arguments}: {said}"
    assert ("notice" in said) if not result.is_error else said["error"]["message"], f"{name}: {said}"
    return said


async def drive(client, writes):
    listed = {tool.name for tool in (await client.list_tools()).tools}
    assert listed == set(READS) | (set(WRITES) if writes else set()), listed
    for name, arguments in READS.items():
        await call(client, name, arguments)
    if not writes:
        for name, arguments in WRITES.items():
            refused = await client.call_tool(name, arguments)
            assert refused.is_error and "was not granted" in refused.structured_content["error"]["message"], refused
        return
    task = {"task": (await call(client, "submit_task", WRITES["submit_task"]))["task"]["id"]}
    await call(client, "cancel_task", task)
    await call(client, "retry_task", task)
    for name, arguments in WRITES.items():
        if arguments and name != "submit_task":
            await call(client, name, arguments)
    wrong = await client.call_tool("get_pool", {"pool": "wbe"})
    assert wrong.is_error and "wbe" in wrong.structured_content["error"]["message"], wrong


async def main(given):
    for flags in ([], ["--allow-writes"]):
        async with Client(StdioServerParameters(command=given.ctl, args=["--state", given.state, "mcp", *flags])) as client:
            await drive(client, bool(flags))
    for token, writes in ((given.view, False), (given.operate, True)):
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=30) as http:
            async with Client(streamable_http_client(given.url, http_client=http)) as client:
                await drive(client, writes)


parser = argparse.ArgumentParser()
for name in ("ctl", "state", "url", "view", "operate"):
    parser.add_argument(f"--{name}", required=True)
asyncio.run(main(parser.parse_args()))
