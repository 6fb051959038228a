"""What a progress message costs to make."""

from __future__ import annotations

from bench.measure import Row, cpu_s
from takopi.bridge.markdown import MarkdownFormatter
from takopi.bridge.progress import ProgressTracker
from takopi.model import Action, ActionEvent


def measure(quick: bool) -> list[Row]:
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
    return [Row("progress, 2,000 actions of 20 kB", best / count * 1e6, "µs", 100)]
