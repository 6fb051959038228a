"""How a run happens. Engines are found by id here; what that takes is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from takopi.engines.registry import get_backend as get_backend
    from takopi.engines.registry import list_backend_ids as list_backend_ids
    from takopi.engines.registry import list_backends as list_backends

__all__ = ["get_backend", "list_backend_ids", "list_backends"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.registry"), name)
