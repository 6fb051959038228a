"""Jobs of one session run one after the other, those of different sessions side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from takopi.bridge.delivery import ChannelId, MessageId, MessageRef, ThreadId
from takopi.logs import get_logger
from takopi.model import ResumeToken, RunContext

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ThreadJob:
    """A message that waits for its session. ``progress_ref`` is the message that says so."""

    chat_id: ChannelId
    user_msg_id: MessageId
    text: str
    resume_token: ResumeToken
    context: RunContext | None = None
    thread_id: ThreadId | None = None
    session_key: Hashable | None = None
    progress_ref: MessageRef | None = None


class ThreadScheduler:
    """First come, first served, per session. A run that starts a new session needs no job.

    No method suspends. An idle session leaves nothing behind.
    """

    def __init__(
        self, *, task_group: TaskGroup, run_job: Callable[[ThreadJob], Awaitable[None]]
    ) -> None:
        self._task_group = task_group
        self._run_job = run_job
        self._queues: dict[str, deque[ThreadJob]] = {}  # one worker for each
        self._queued: dict[tuple[ChannelId, MessageId], ThreadJob] = {}
        self._busy: dict[str, anyio.Event] = {}  # set when the session is free again

    @staticmethod
    def thread_key(token: ResumeToken) -> str:
        """What jobs of one session have in common."""
        return f"{token.engine}:{token.value}"

    async def enqueue(self, job: ThreadJob) -> None:
        """Run a job when its session is free and the jobs before it are done."""
        key = self.thread_key(job.resume_token)
        if key not in self._queues:
            self._task_group.start_soon(self._work, key)
            self._queues[key] = deque()
        self._queues[key].append(job)
        if job.progress_ref is not None:
            self._queued[job.chat_id, job.progress_ref.message_id] = job

    async def enqueue_resume(
        self,
        chat_id: ChannelId,
        user_msg_id: MessageId,
        text: str,
        resume_token: ResumeToken,
        context: RunContext | None = None,
        thread_id: ThreadId | None = None,
        session_key: Hashable | None = None,
        progress_ref: MessageRef | None = None,
    ) -> None:
        """`enqueue` with a job's fields."""
        await self.enqueue(
            ThreadJob(
                chat_id=chat_id,
                user_msg_id=user_msg_id,
                text=text,
                resume_token=resume_token,
                context=context,
                thread_id=thread_id,
                session_key=session_key,
                progress_ref=progress_ref,
            )
        )

    async def note_thread_known(self, token: ResumeToken, done: anyio.Event) -> None:
        """A run outside of the queue has this session until ``done``."""
        key = self.thread_key(token)
        known = self._busy.get(key)
        if done.is_set() or (known is not None and not known.is_set()):
            return
        self._task_group.start_soon(self._forget, key, done)
        self._busy[key] = done

    async def cancel_queued(
        self, chat_id: ChannelId, progress_msg_id: MessageId
    ) -> ThreadJob | None:
        """Take back the job that a message stands for; None if it has begun or never was."""
        job = self._queued.pop((chat_id, progress_msg_id), None)
        if job is not None:
            key = self.thread_key(job.resume_token)
            self._queues[key] = deque(other for other in self._queues[key] if other is not job)
        return job

    async def _work(self, key: str) -> None:
        try:
            while self._queues[key]:
                busy = self._busy.get(key)
                if busy is not None and not busy.is_set():
                    await busy.wait()
                    continue  # the job may have been taken back meanwhile
                job = self._queues[key].popleft()
                self._unlist(job)
                try:
                    await self._run_job(job)
                except Exception:
                    logger.exception("scheduler.job_failed", thread=key, chat_id=job.chat_id)
        finally:
            for job in self._queues.pop(key):
                self._unlist(job)

    def _unlist(self, job: ThreadJob) -> None:
        ref = job.progress_ref
        if ref is not None and self._queued.get((job.chat_id, ref.message_id)) is job:
            del self._queued[job.chat_id, ref.message_id]

    async def _forget(self, key: str, done: anyio.Event) -> None:
        try:
            await done.wait()
        finally:
            if self._busy.get(key) is done:
                del self._busy[key]
