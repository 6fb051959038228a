"""What a run of an adapter's engine leaves in the log: steps, and never the prompt."""

import logging
import sys

import pytest

from takopi.engines.jsonl import AdapterRunner
from tests.support.adapters import adapter_from

SCRIPT = """#!{python}
import sys
sys.stderr.write("careful\\n")
print('{{"type": "init", "id": "s1"}}')
print('{{"type": "end", "text": "ok"}}')
"""


@pytest.mark.anyio
async def test_c19_the_prompt_stays_out_of_the_log(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("takopi"), "propagate", True)
    caplog.set_level(logging.DEBUG, "takopi")
    cli = tmp_path / "acme"
    cli.write_text(SCRIPT.format(python=sys.executable))
    cli.chmod(0o755)
    adapter = adapter_from(
        f"command: {cli}\nargs: ['--prompt=${{run().prompt}}']\n"
        "events:\n  - match: {type: init}\n  - match: {type: end}\n    complete: {answer: text}\n"
        "session: {match: {type: init}, id: id}\n"
    )
    async for _ in AdapterRunner(adapter).run("my secret plan", None):
        pass
    lines = [record.getMessage() for record in caplog.records]
    names = [line.split()[0] for line in lines]
    assert [n for n in names if n.startswith(("runner.", "subprocess."))] == [
        "runner.start",
        "subprocess.spawn",
        "subprocess.stderr",
        "subprocess.exit",
    ]
    assert "prompt_len=14" in lines[names.index("runner.start")]
    assert "secret plan" not in "\n".join(lines)
    assert "careful" in lines[names.index("subprocess.stderr")]
