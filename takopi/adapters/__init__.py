"""The adapter language: YAML text in, events out. No processes, no event loop."""
