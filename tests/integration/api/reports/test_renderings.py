"""PDFs made in processes of their own, and how many reports are made at once."""

import io
import threading
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from pypdf import PdfReader

from api.content.renderings import READERS, READERS_WAITING, CannotRender, Renderings, RenderingsBusy
from api.gate import Holder

HOLDER = Holder(1, "user:1")


def test_renderer_reads_neither_files_nor_the_network(tmp_path: Any) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("top secret words")
    style = tmp_path / "style.css"
    style.write_text("body::before { content: 'top secret words' }")
    page = (
        f'<link rel="stylesheet" href="{style.as_uri()}"><img src="{secret.as_uri()}" alt="kept out">'
        f'<object data="{secret.as_uri()}">kept out</object><a rel="attachment" href="{secret.as_uri()}">a'
        "</a>"
        '<img src="http://127.0.0.1:1/x.png" alt="unreached">'
    )
    made = anyio.run(Renderings().pdf, HOLDER, lambda: page)
    reader = PdfReader(io.BytesIO(made))
    words = "".join(one.extract_text() for one in reader.pages)
    assert "kept out" in words
    assert "unreached" in words
    assert "secret" not in words
    assert not reader.attachments


def test_rendering_that_takes_too_long_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.rendering.TIMEOUT_S", 0.05)
    renderings = Renderings()

    async def render() -> None:
        with pytest.raises(CannotRender):
            await renderings.pdf(HOLDER, lambda: "<p>word</p>" * 20_000)

    anyio.run(render)
    monkeypatch.setattr("reports.rendering.TIMEOUT_S", 60)
    assert anyio.run(renderings_of_another_loop).startswith(b"%PDF")


def test_page_that_cannot_be_laid_out_is_reported_as_such() -> None:
    with pytest.raises(CannotRender, match="laid out"):
        anyio.run(Renderings().pdf, HOLDER, lambda: "<div>" * 3000)


async def renderings_of_another_loop() -> bytes:
    return await Renderings().pdf(HOLDER, lambda: "<p>word</p>")


def test_reports_leave_threads_to_everything_else() -> None:
    """However many ask at once; those who come when too many wait are sent away."""
    renderings, released = Renderings(), threading.Event()
    under_way, refused = [], []

    def write() -> str:
        under_way.append(1)
        assert released.wait(20)
        return ""

    async def ask_one(company_id: int) -> None:
        try:
            await renderings.text(Holder(company_id, "user:1"), write)
        except RenderingsBusy:
            refused.append(1)

    async def ask_many() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(READERS + READERS_WAITING + 3):
                tasks.start_soon(ask_one, number)
            with anyio.fail_after(20):
                while len(under_way) < READERS or len(refused) < 3:
                    await anyio.sleep(0.01)
                await anyio.to_thread.run_sync(int)
            assert (len(under_way), len(refused)) == (READERS, 3)
            released.set()

    anyio.run(ask_many)
    assert len(under_way) == READERS + READERS_WAITING


def test_one_company_leaves_pdfs_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many it asks for at once."""
    renderings, made = Renderings(), []

    async def ask_for_twenty() -> None:
        release = anyio.Event()

        async def make(html: str, _limiter: Any) -> bytes:
            made.append(html)
            await release.wait()
            return b"%PDF"

        monkeypatch.setattr("api.content.renderings.rendering.pdf_of", make)
        async with anyio.create_task_group() as tasks:
            refused = [await _is_refused(renderings, tasks, "greedy", 1) for _ in range(20)]
            assert refused == [False] * 4 + [True] * 16
            assert not await _is_refused(renderings, tasks, "modest", 2)
            release.set()
        assert renderings.pdfs.free == 10

    anyio.run(ask_for_twenty)
    assert made == ["greedy"] * 4 + ["modest"]


async def _is_refused(renderings: Renderings, tasks: TaskGroup, html: str, company_id: int) -> bool:
    """Ask for a PDF, which goes on in ``tasks`` once it is admitted and its page is read."""
    ended: list[bool] = []

    async def ask() -> None:
        try:
            await renderings.pdf(Holder(company_id, f"user:{company_id}"), lambda: html)
        except RenderingsBusy:
            ended.append(True)

    before = renderings.pdfs.free
    tasks.start_soon(ask)
    with anyio.fail_after(20):
        while not ended and renderings.pdfs.free == before:
            await anyio.sleep(0.01)
        await anyio.wait_all_tasks_blocked()
    return bool(ended)
