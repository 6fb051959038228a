"""``python -m takopi.demo`` is ``takopi-demo``."""

from __future__ import annotations

import sys

from takopi.demo.cli import main

sys.exit(main())
