"""takopi puts coding agents into a chat; every engine is one YAML file."""

__version__ = "1.0.0"
