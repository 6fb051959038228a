"""Installed distributions in a folder of their own: real metadata, real modules."""

import sys

from takopi import plugins


class Site:
    """A folder on ``sys.path``. Every module says in ``imports`` that it was imported."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "imports.log"

    def install(self, name, entry_points=None, *, modules=None, metadata=True, raw=None):
        """``entry_points``: group -> id -> value; ``raw``: the text of entry_points.txt instead."""
        info = self.folder / f"{(name or 'nameless').replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = []
        for group, points in (entry_points or {}).items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n" if raw is None else raw)
        for path, text in (modules or {}).items():
            self.module(path, text)
        plugins.refresh()
        return info

    def module(self, name, text):
        (self.folder / f"{name}.py").write_text(self._note(name) + text)

    def package(self, path, files):
        """A folder with files; a package only if there is an ``__init__.py`` among them."""
        folder = self.folder / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            if name.endswith(".py"):
                text = self._note(path) + text
            (folder / name).write_text(text)
        plugins.refresh()

    def _note(self, name):
        return f"with open({str(self.log)!r}, 'a') as log: log.write({name!r} + '\\n')\n"

    @property
    def imports(self):
        """The modules imported so far, in order, each time it happened."""
        return self.log.read_text().split() if self.log.exists() else []


def new_site(tmp_path, monkeypatch):
    """Yields a `Site`; afterwards nothing of it is left in this process. The body of a fixture."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    plugins.reset_plugin_state()
    before = set(sys.modules)
    yield Site(folder)
    plugins.reset_plugin_state()
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(folder)):
            del sys.modules[name]
