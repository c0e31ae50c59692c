import asyncio

from api.http.single_flight import SingleFlight


def test_caller_cancelled_as_the_result_comes_is_cancelled() -> None:
    async def story() -> bool:
        flight = SingleFlight(lambda: None)
        caller = asyncio.create_task(flight.ask(10))
        await asyncio.sleep(0)  # the caller has started the work
        assert flight._running is not None
        flight._running.add_done_callback(lambda _: caller.cancel())
        await asyncio.wait({caller})
        return caller.cancelled()

    assert asyncio.run(story())


def test_late_work_is_a_timeout_and_goes_on_for_later_callers() -> None:
    async def story() -> str:
        flight = SingleFlight(lambda: "done")
        caller = asyncio.create_task(flight.ask(0))
        await asyncio.wait({caller})
        assert isinstance(caller.exception(), TimeoutError)
        return await flight.ask(10)

    assert asyncio.run(story()) == "done"
