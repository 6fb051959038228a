"""Measures what `docs/explanation/performance.md` promises: ``python -m bench --help``."""
