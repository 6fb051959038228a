"""A small engine that needs no account: it answers questions about the files of a directory.

It is an ordinary command line program. takopi reaches it only through ``adapters/demo.yaml``, and
it uses nothing of takopi and nothing outside the standard library.
"""

from __future__ import annotations

VERSION = "1.0.0"
