"""takopi as it is shipped: built from a tree, installed into a folder. Nothing is downloaded."""

import subprocess
import sys


def run(*command, cwd, env=None, ok=True):
    """A command that must succeed, or with ``ok=False`` must fail; what it printed."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode == 0) is ok, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done


def build(target, folder, tree):
    """Build a ``wheel`` or an ``sdist`` without isolation, with the environment's own tools."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder, cwd=tree)


def install(wheels, site):
    """Install wheels, but not what they depend on, into a folder."""
    pip = (sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install")
    options = ("--no-deps", "--no-index", "--no-compile", "--target", site)
    run(*pip, *options, *wheels, cwd=site)
