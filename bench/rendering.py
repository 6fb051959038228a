"""What messages cost to make."""

from __future__ import annotations

from bench.measure import Row, cpu_s
from takopi.bridge.markdown import MarkdownFormatter, MarkdownParts
from takopi.bridge.progress import ProgressTracker
from takopi.model import Action, ActionEvent
from takopi.telegram.render import prepare_telegram_multi

SECTION = """## Part of an answer

Some **bold** text with `code`, a [link](https://example.com/a/b) and _more_ words, as agents write
them, over two lines.

- an item with **bold** words
- an item with `code`
  - a nested one

```python
for item in items:
    print(item)
```

1. first
2. second

"""
ROW = "| src/module.py | `function` | 42 |\n"


def measure(quick: bool) -> list[Row]:
    """A progress message; answers of 100 kB, split into messages."""
    answer = SECTION * (100_000 // len(SECTION))
    table = "| File | Name | Lines |\n|---|---|--:|\n" + ROW * (100_000 // len(ROW))
    return [
        progress(quick),
        Row("Markdown of 100 kB to messages", answer_ms(quick, answer), "ms", 300),
        Row("a table of 100 kB to messages", answer_ms(quick, table), "ms", 300),
    ]


def answer_ms(quick: bool, answer: str) -> float:
    parts = MarkdownParts("done · acme · 7s", answer, "`acme resume 0199a213`")
    prepare_telegram_multi(parts)  # loads the parser
    return min(cpu_s(lambda: prepare_telegram_multi(parts)) for _ in range(1 if quick else 5)) * 1e3


def progress(quick: bool) -> Row:
    """2,000 steps with titles of 20 kB; one render is what an edit of the message costs."""
    tracker = ProgressTracker(engine="acme")
    title = "cat > notes.md <<'EOF'\n" + "words and more words\n" * 1_000
    for i in range(2_000):
        action = Action(f"step-{i}", "command", title)
        tracker.note_event(ActionEvent("acme", action, "completed", True))
    formatter = MarkdownFormatter()
    count = 50 if quick else 2_000

    def render() -> None:
        for _ in range(count):
            formatter.render_progress_parts(tracker.snapshot(), elapsed_s=61.0)

    best = min(cpu_s(render) for _ in range(3))
    return Row("progress, 2,000 actions of 20 kB", best / count * 1e6, "µs", 100)
