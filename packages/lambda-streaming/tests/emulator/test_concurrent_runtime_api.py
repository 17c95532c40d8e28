"""The Runtime API of a Managed Instance: several invocations at once, each on its own connection."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from lambda_streaming.function_url.invoker import InvocationResponse
from support.environments import text_of
from support.one_environment import OneEnvironment, one_environment, request_of
from support.raw_runtime import RawRuntime, raw_runtime


async def invoked(
    environment: OneEnvironment, runtime: RawRuntime
) -> tuple[str, asyncio.Task[InvocationResponse]]:
    """Start an invocation, and fetch its event with a runtime's connection."""
    response = asyncio.create_task(environment.invoke(request_of()))
    event = await runtime.next()
    return event.headers["Lambda-Runtime-Aws-Request-Id"], response


async def test_each_poll_receives_an_event_of_its_own_and_results_are_told_apart_by_request_id() -> None:
    """Whatever the order of the results, and whichever connection they come on."""
    async with AsyncExitStack() as stack:
        environment = await stack.enter_async_context(one_environment(concurrency=2))
        address = environment.api.address
        one, two = [await stack.enter_async_context(raw_runtime(address)) for _ in range(2)]
        first, first_response = await invoked(environment, one)
        second, second_response = await invoked(environment, two)
        assert first != second
        assert (await one.post(f"invocation/{second}/response", b'"second"')).status == 202
        assert (await one.post(f"invocation/{first}/response", b'"first"')).status == 202
        assert await text_of(await first_response) == '"first"'
        assert await text_of(await second_response) == '"second"'
        again = await one.post(f"invocation/{first}/response", b'"again"')
        assert (again.status, again.json()["errorType"]) == (403, "InvalidStateTransition")  # type: ignore[index]


async def test_more_polls_than_invocations_at_once_are_refused() -> None:
    """A slot is free again once its result has been posted, whether or not its connection polls again."""
    async with AsyncExitStack() as stack:
        environment = await stack.enter_async_context(one_environment(concurrency=2))
        address = environment.api.address
        one, two, three = [await stack.enter_async_context(raw_runtime(address)) for _ in range(3)]
        running, response = await invoked(environment, one)
        await two.ask_next()
        await environment.api.ready()
        refused = await three.next()
        assert (refused.status, refused.json()["errorType"]) == (403, "TooManyIdleRuntimes")  # type: ignore[index]
        await one.post(f"invocation/{running}/response", b'"done"')
        assert await text_of(await response) == '"done"'
        both = [asyncio.create_task(environment.invoke(request_of())) for _ in range(2)]
        for runtime, event in ((two, await two.response()), (three, await three.next())):
            request_id = event.headers["Lambda-Runtime-Aws-Request-Id"]
            await runtime.post(f"invocation/{request_id}/response", b'"ok"')
        assert [await text_of(await each) for each in both] == ['"ok"', '"ok"']


async def test_a_result_that_comes_after_the_timeout_is_refused_as_such() -> None:
    """With the status of AWS's emulator for Managed Instances; an unknown request id has another one."""
    async with AsyncExitStack() as stack:
        environment = await stack.enter_async_context(one_environment(concurrency=2))
        runtime = await stack.enter_async_context(raw_runtime(environment.api.address))
        request_id, response = await invoked(environment, runtime)
        environment.api.expire(request_id)
        late = await runtime.post(f"invocation/{request_id}/response", b'"late"')
        assert (late.status, late.json()["errorType"]) == (410, "InvokeTimeout")  # type: ignore[index]
        unknown = await runtime.post("invocation/unknown/error", b"{}")
        assert (unknown.status, unknown.json()["errorType"]) == (400, "InvalidRequestID")  # type: ignore[index]
        response.cancel()
        next_id, next_response = await invoked(environment, runtime)
        await runtime.post(f"invocation/{next_id}/response", b'"in time"')
        assert await text_of(await next_response) == '"in time"'
