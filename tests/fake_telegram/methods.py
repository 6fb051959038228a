"""One function per method of the Bot API: parameters in, result out, or an error as Telegram words it.

Each checks in the order of its lines. Source: Bot API reference, "Available methods", "Updating
messages", "Getting updates"; the wording of errors is that commonly seen.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import Any

from tests.fake_telegram.calls import Call, Context, method, open_chat
from tests.fake_telegram.params import ApiError, Params, bad_request
from tests.fake_telegram.rules import (
    Entity,
    check_caption,
    check_entities,
    check_markup,
    check_message,
    normal_form,
)
from tests.fake_telegram.state import Chat, File, Json, Member, Message, Topic
from tests.fake_telegram.updates import BATCH, Poll
from tests.support import telegram_rules

NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same"
    " as a current content and reply markup of the message"
)
CONFLICT = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
WEBHOOK_SET = (
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the"
    " webhook first"
)
WEBHOOK_COMES = "Conflict: terminated by setWebhook request"
CHAT_ACTIONS = re.compile(
    "typing|choose_sticker|find_location|upload_(photo|document)"
    "|(record|upload)_(video|voice|video_note)"
)


# Updates


@method("getUpdates", "offset limit timeout allowed_updates")
def get_updates(context: Context, call: Call) -> Poll | list[Json]:
    queue, params = context.queue, call.params
    if context.state.webhook_url:
        raise ApiError(409, WEBHOOK_SET)
    limit = min(max(params.integer("limit") or BATCH, 1), BATCH)
    timeout_s = max(params.integer("timeout") or 0, 0) * context.clock.scale
    poll = Poll(limit, time.monotonic() + timeout_s, call.alive)
    queue.loser = context.options.poll_loser
    if not queue.enter(poll):
        raise ApiError(409, CONFLICT)
    if isinstance(allowed := params.nested("allowed_updates"), list):
        queue.allow(allowed)
    queue.confirm(params.integer("offset"))
    return poll


def poll_result(context: Context, poll: Poll) -> list[Json] | None:
    """What a poll gives by now; None while it waits. Nothing is given to a client that left."""
    if poll.refused:
        raise ApiError(409, WEBHOOK_COMES if context.state.webhook_url else CONFLICT)
    updates = context.queue.batch_of(poll.limit) if poll.alive() else []
    if not updates and poll.alive() and time.monotonic() < poll.deadline:
        return None
    return updates


@method("getWebhookInfo")
def get_webhook_info(context: Context, call: Call) -> Json:
    return {
        "url": context.state.webhook_url,
        "has_custom_certificate": False,
        "pending_update_count": len(context.queue.entries),
    }


@method(
    "setWebhook",
    "url certificate ip_address max_connections allowed_updates drop_pending_updates secret_token",
)
def set_webhook(context: Context, call: Call) -> bool:
    url, waiting = call.params.text("url") or "", context.queue.waiting
    if url and not url.startswith("https://"):
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    context.state.webhook_url = url
    if url and waiting is not None:
        waiting.refused = True
    if call.params.flag("drop_pending_updates"):
        context.queue.entries.clear()
    return True


@method("deleteWebhook", "drop_pending_updates")
def delete_webhook(context: Context, call: Call) -> bool:
    context.state.webhook_url = ""
    if call.params.flag("drop_pending_updates"):
        context.queue.entries.clear()
    return True


# Messages

_SENDING = (
    "chat_id message_thread_id disable_notification protect_content reply_parameters"
    " reply_to_message_id allow_sending_without_reply reply_markup parse_mode "
)


@method(
    "sendMessage",
    _SENDING + "text entities link_preview_options disable_web_page_preview",
    counted=True,
)
def send_message(context: Context, call: Call) -> Json:
    params = call.params
    chat = open_chat(context, params)
    text, entities = _checked_text(context, params)
    message = _new_message(context, chat, params)
    message.text, message.entities = text, entities
    return _sent(context, call, message)


@method("sendDocument", _SENDING + "document caption caption_entities", counted=True)
def send_document(context: Context, call: Call) -> Json:
    params = call.params
    chat = open_chat(context, params)
    file = _document(context, params)
    caption = params.text("caption") or ""
    entities = _entities(params, "caption_entities")
    _refuse(context, check_caption(caption, entities, params.text("parse_mode")))
    message = _new_message(context, chat, params)
    message.text, message.entities = normal_form(caption, entities)
    message.media, message.extra = "document", {"document": file.to_api()}
    return _sent(context, call, message)


@method(
    "editMessageText",
    "chat_id message_id text parse_mode entities link_preview_options disable_web_page_preview"
    " reply_markup",
    counted=True,
)
def edit_message_text(context: Context, call: Call) -> Json:
    params = call.params
    chat = open_chat(context, params)
    message = _message(chat, params, "message to edit not found")
    if not message.by_bot:
        raise bad_request("message can't be edited")
    text, entities = _checked_text(context, params)
    markup = _markup(context, params)
    if message.media:
        raise bad_request("there is no text in the message to edit")
    if (text, entities, markup) == (message.text, message.entities, message.markup):
        raise bad_request(NOT_MODIFIED)
    message.text, message.entities, message.markup = text, entities, markup
    message.edit_date = context.clock.date()
    message.note(time.monotonic())
    call.effect = f"message {message.id} edited"
    return message.to_api()


@method("editMessageReplyMarkup", "chat_id message_id reply_markup", counted=True)
def edit_message_reply_markup(context: Context, call: Call) -> Json:
    chat = open_chat(context, call.params)
    message = _message(chat, call.params, "message to edit not found")
    if not message.by_bot:
        raise bad_request("message can't be edited")
    markup = _markup(context, call.params)
    if markup == message.markup:
        raise bad_request(NOT_MODIFIED)
    message.markup = markup
    message.edit_date = context.clock.date()
    message.note(time.monotonic())
    call.effect = f"buttons of message {message.id} edited"
    return message.to_api()


@method("deleteMessage", "chat_id message_id")
def delete_message(context: Context, call: Call) -> bool:
    chat = open_chat(context, call.params)
    message = _message(chat, call.params, "message to delete not found")
    bot = context.state.bot
    own = message.by_bot or chat.kind == "private"
    limit_s = context.options.delete_age_limit_s
    too_old = limit_s is not None and context.clock.date() - message.date > limit_s
    if message.service or not (own or chat.member(bot.id).is_admin) or too_old:
        raise bad_request("message can't be deleted")
    message.deleted = True
    call.effect = f"message {message.id} deleted"
    return True


@method("setMessageReaction", "chat_id message_id reaction is_big")
def set_message_reaction(context: Context, call: Call) -> bool:
    chat = open_chat(context, call.params)
    message = _message(chat, call.params, "message to react not found")
    reactions = call.params.nested("reaction") or []
    if not isinstance(reactions, list) or len(reactions) > 1:  # a bot has one
        raise bad_request("REACTIONS_TOO_MANY")
    if any(not isinstance(r, dict) or r.get("type") != "emoji" for r in reactions):
        raise bad_request("REACTION_INVALID")
    message.reactions = reactions
    call.effect = f"message {message.id} has reactions {reactions}"
    return True


@method("sendChatAction", "chat_id message_thread_id action")
def send_chat_action(context: Context, call: Call) -> bool:
    chat = open_chat(context, call.params)
    if not CHAT_ACTIONS.fullmatch(call.params.text("action") or ""):
        raise bad_request("wrong parameter action in request")
    _topic_for(context, chat, call.params)
    return True


@method("answerCallbackQuery", "callback_query_id text show_alert url cache_time")
def answer_callback_query(context: Context, call: Call) -> bool:
    query = context.state.callbacks.get(call.params.text("callback_query_id") or "")
    lifetime_s = context.options.callback_lifetime_s
    if query is None or context.clock.now() - query.at > lifetime_s:
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    text = call.params.text("text") or ""
    if len(text) > 200:
        raise bad_request("MESSAGE_TOO_LONG")
    query.answer = {"text": text, "show_alert": call.params.flag("show_alert")}
    call.effect = f"button {query.data!r} answered: {text!r}"
    return True


# Chats, topics, files, the bot


@method("getMe")
def get_me(context: Context, call: Call) -> Json:
    return context.state.bot.to_api() | {
        "can_join_groups": True,
        "can_read_all_group_messages": not context.options.privacy,
        "supports_inline_queries": False,
    }


@method("getChat", "chat_id")
def get_chat(context: Context, call: Call) -> Json:
    return open_chat(context, call.params).to_api() | {"accent_color_id": 0}


@method("getChatMember", "chat_id user_id")
def get_chat_member(context: Context, call: Call) -> Json:
    chat = open_chat(context, call.params)
    user = context.state.users.get(call.params.integer("user_id") or 0)
    if user is None:
        raise bad_request("user not found")
    member = Member("member") if chat.user == user else chat.member(user.id)
    shown: Json = {"status": member.status, "user": user.to_api()}
    if member.status == "administrator":
        shown["can_manage_topics"] = member.can_manage_topics
    return shown


@method("createForumTopic", "chat_id name icon_color icon_custom_emoji_id")
def create_forum_topic(context: Context, call: Call) -> Json:
    chat = open_chat(context, call.params)
    _may_manage_topics(context, chat, "create a topic")
    name = _topic_name(call.params.text("name"))
    date, now = context.clock.date(), time.monotonic()
    topic = context.state.open_topic(chat, name, context.state.bot, date, now)
    call.effect = f"topic {topic.thread} created"
    return {"message_thread_id": topic.thread, "name": name, "icon_color": 0x6FB9F0}


@method("editForumTopic", "chat_id message_thread_id name icon_custom_emoji_id")
def edit_forum_topic(context: Context, call: Call) -> bool:
    chat = open_chat(context, call.params)
    _may_manage_topics(context, chat, "manage topics")
    topic = chat.topics.get(call.params.integer("message_thread_id") or 0)
    if topic is None:
        raise bad_request("message thread not found")
    if topic.deleted:
        raise bad_request("TOPIC_ID_INVALID")
    name = _topic_name(call.params.text("name"))
    if name == topic.name and context.options.same_topic_name_fails:
        raise bad_request("TOPIC_NOT_MODIFIED")
    topic.name = name
    call.effect = f"topic {topic.thread} renamed"
    return True


@method("getFile", "file_id")
def get_file(context: Context, call: Call) -> Json:
    file = context.state.files.get(call.params.text("file_id") or "")
    if file is None:
        raise bad_request("wrong file_id or the file is temporarily unavailable")
    if file.size > context.options.download_limit_bytes:
        raise bad_request("file is too big")
    number = list(context.state.files).index(file.file_id)
    suffix = re.search(r"\.\w+$", file.name or "")
    file.path = f"documents/file_{number}{suffix[0] if suffix else ''}"
    file.path_until = context.clock.now() + context.options.file_path_lifetime_s
    shown = {"file_id": file.file_id, "file_unique_id": file.unique_id, "file_size": file.size}
    return shown | {"file_path": file.path}


@method("setMyCommands", "commands scope language_code")
def set_my_commands(context: Context, call: Call) -> bool:
    commands = call.params.nested("commands")
    if not isinstance(commands, list):
        raise bad_request("expected an Array of BotCommand")
    if len(commands) > 100:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    for command in commands:
        if not re.fullmatch(r"[a-z0-9_]{1,32}", str(command.get("command", ""))):
            raise bad_request("BOT_COMMAND_INVALID")
        if not 1 <= len(str(command.get("description", ""))) <= 256:
            raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
    context.state.commands[_scope(call.params)] = commands
    call.effect = f"{len(commands)} commands"
    return True


@method("getMyCommands", "scope language_code")
def get_my_commands(context: Context, call: Call) -> list[Json]:
    return context.state.commands.get(_scope(call.params), [])


# Shared steps


def _checked_text(context: Context, params: Params) -> tuple[str, list[Entity]]:
    text = params.text("text") or ""
    entities = _entities(params, "entities")
    trouble = check_message(text, entities, params.text("parse_mode"))
    if not trouble and context.options.strict_code:
        strict = check_entities(text, entities, strict_code=True)
        trouble = strict and f"Bad Request: can't parse entities: {strict}"
    _refuse(context, trouble)
    if context.options.strict_text:
        for loss in telegram_rules.losses(text, entities):  # type: ignore[no-untyped-call]
            context.violate(f"lossy-text: {loss}")
    return normal_form(text, entities)


def _entities(params: Params, name: str) -> Sequence[Any]:
    entities = params.nested(name)
    return [] if entities is None else entities


def _refuse(context: Context, description: str | None) -> None:
    if description is not None:
        context.violate(f"bad-message: {description}")
        raise ApiError(400, description)


def _markup(context: Context, params: Params) -> Json | None:
    """The inline keyboard; an empty one is none."""
    markup: Json | None = params.nested("reply_markup")
    _refuse(context, check_markup(markup))
    return markup if markup and any(markup["inline_keyboard"]) else None


def _new_message(context: Context, chat: Chat, params: Params) -> Message:
    """The message that a sending method makes, in its thread and as the reply it should be."""
    markup = _markup(context, params)
    topic = _topic_for(context, chat, params)
    reply_to = _reply_target(context, chat, params)
    message = Message(0, chat, context.clock.date(), context.state.bot, markup=markup)
    message.by_bot = True
    message.silent = params.flag("disable_notification")
    message.reply_to = reply_to
    if topic is not None:
        message.thread, message.is_topic = topic.thread, True
    else:
        message.thread, message.is_topic = chat.thread_of_reply(reply_to)
    return message


def _sent(context: Context, call: Call, message: Message) -> Json:
    message.id = message.chat.next_id()
    message.chat.add(message, time.monotonic())
    call.effect = f"message {message.id} sent"
    return message.to_api()


def _topic_for(context: Context, chat: Chat, params: Params) -> Topic | None:
    thread = params.integer("message_thread_id")
    if thread is None:
        return None
    topic = chat.topics.get(thread) if chat.is_forum else None
    if not chat.is_forum:
        context.violate(f"thread-outside-topics: message_thread_id {thread} in chat {chat.id}")
    if topic is None or topic.deleted:
        raise bad_request("message thread not found")
    if topic.closed and not chat.member(context.state.bot.id).can_manage_topics:
        raise bad_request("TOPIC_CLOSED")
    return topic


def _reply_target(context: Context, chat: Chat, params: Params) -> int | None:
    reply = params.nested("reply_parameters")
    if reply is not None and not isinstance(reply, dict):
        raise bad_request("can't parse reply parameters JSON object")
    target = Params(reply).integer("message_id") if reply else None
    lenient = bool(reply and reply.get("allow_sending_without_reply"))
    if target is None:
        target = params.integer("reply_to_message_id")
        lenient = params.flag("allow_sending_without_reply")
        if target is not None and context.options.strict_reply:
            context.violate(
                "unknown-parameter: reply_to_message_id is replaced by reply_parameters"
            )
            raise bad_request("unexpected parameter reply_to_message_id")
    if target is None:
        return None
    found = chat.messages.get(target)
    if found is not None and not found.deleted:
        return target
    if lenient:
        return None
    raise bad_request("message to be replied not found")


def _message(chat: Chat, params: Params, missing: str) -> Message:
    message = chat.messages.get(params.integer("message_id") or 0)
    if message is None or message.deleted:
        raise bad_request(missing)
    return message


def _document(context: Context, params: Params) -> File:
    """An uploaded part, or a file that is already there."""
    upload = params.files.get("document")
    if upload is None:
        known = context.state.files.get(params.text("document") or "")
        if known is None:
            raise bad_request("there is no document in the request")
        return known
    if not upload.data:
        raise bad_request("file must be non-empty")
    if len(upload.data) > context.options.upload_limit_bytes:
        raise ApiError(413, "Request Entity Too Large")
    return context.state.add_file(upload.name, upload.data, mime_type=upload.mime_type)


def _may_manage_topics(context: Context, chat: Chat, what: str) -> None:
    if not chat.is_forum:
        raise bad_request("the chat is not a forum")
    member = chat.member(context.state.bot.id)
    if not (member.status == "creator" or (member.is_admin and member.can_manage_topics)):
        raise bad_request(f"not enough rights to {what}")


def _topic_name(name: str | None) -> str:
    if not name or not 1 <= len(name) <= 128:
        raise bad_request("TOPIC_TITLE_INVALID" if name else "topic name must be non-empty")
    return name


def _scope(params: Params) -> tuple[str, str]:
    scope = params.nested("scope") or {"type": "default"}
    return json.dumps(scope, sort_keys=True), params.text("language_code") or ""
