"""A home with small engines in it, for chats that run as real processes."""

_ADAPTER = """\
adapter: 1
id: {id}
command: {id}-cli
args: ["${{run().prompt}}", "${{run().resume}}"]
resume: {{line: "{id} resume ${{token}}"}}
session: {{match: {{type: init}}, id: session}}
events:
  - match: {{type: step}}
    action: {{id: id, title: title}}
  - match: {{type: end}}
    complete: {{answer: text}}
"""
_CLI = """\
#!/bin/sh
echo '{{"type": "init", "session": "'"${{2:-{id}-$$}}"'"}}'
echo '{{"type": "step", "id": "1", "title": "thinking hard"}}'
case "$1" in
  wait*) while [ ! -e go ]; do sleep 0.02; done ;;
  hang*) sleep 1000 ;;
esac
printf '{{"type": "end", "text": "{id} heard %d bytes%s"}}\\n' "${{#1}}" "${{2:+ again}}"
"""


def home_with_engines(folder):
    """A home with the engines ``acme`` and ``other``, and a ``project`` folder to be in."""
    for name in ("project", "bin", ".takopi/adapters"):
        (folder / name).mkdir(parents=True)
    (folder / "project/README.md").write_text("# Sample\n")
    for engine in ("acme", "other"):
        add_engine(folder, engine)
    return folder


def add_engine(home, engine):
    """An engine that says how many bytes it heard.

    A prompt with ``wait`` in front waits for the file ``go``, ``hang`` never ends.
    """
    script = home / f"bin/{engine}-cli"
    script.write_text(_CLI.format(id=engine))
    script.chmod(0o755)
    (home / f".takopi/adapters/{engine}.yaml").write_text(_ADAPTER.format(id=engine))
