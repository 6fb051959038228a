"""What one message may do to the others: nothing."""

import anyio
import pytest

from takopi.bridge.delivery import MessageRef
from takopi.bridge.handle import ExecBridgeConfig
from takopi.bridge.vocabulary import Inbound, Prompt
from takopi.telegram.conversation import Conversation
from takopi.telegram.presenter import TelegramPresenter
from takopi.telegram.sessions import NoMemory
from takopi.testing import RecordingTransport, Return, ScriptRunner, runtime_of

pytestmark = pytest.mark.anyio
AT = MessageRef(5, 1, thread_id=7, sender_id=9)


class BrokenMemory(NoMemory):
    def scope(self, at):
        raise OSError("the disk is on fire")


async def talk(memory, act, on_session=lambda run, token: None):
    """What is posted when ``act`` is done with a conversation."""
    transport = RecordingTransport()
    runtime = runtime_of(ScriptRunner([Return("hello")], engine="acme", resume_value="s1"))
    async with anyio.create_task_group() as tasks:
        conversation = Conversation(
            ExecBridgeConfig(transport, TelegramPresenter(), final_notify=True, refresh_s=None),
            runtime,
            tasks=tasks,
            memory=memory,
            calls=None,
            on_session=on_session,
        )
        act(conversation)
    return transport.sends


def say(text):
    inbound = Inbound(AT, text)
    return lambda talk: talk.spawn(lambda: talk.act(Prompt(inbound), inbound), AT)


async def test_f19_what_fails_is_said_in_reply_and_stops_nobody():
    def act(talk):
        say("one")(talk)
        say("two")(talk)

    sent = await talk(BrokenMemory(), act)
    assert [call.message.text for call in sent] == ["error:\nthe disk is on fire"] * 2
    assert {call.options.reply_to for call in sent} == {AT}
    assert {call.options.thread_id for call in sent} == {7}


async def test_f19_a_run_goes_on_when_its_session_cannot_be_noted():
    def broken(run, token):
        raise RuntimeError("no")

    sent = await talk(NoMemory(), say("hi"), broken)
    assert "hello" in sent[-1].message.text


async def test_a_session_is_noted_with_the_message_that_shows_its_run():
    noted = []
    await talk(NoMemory(), say("hi"), lambda run, token: noted.append((run.shown, token.value)))
    assert [token for _, token in noted] == ["s1"]
    assert noted[0][0].channel_id == 5
