"""A small engine CLI that works offline: it answers about the files of a directory.

It is a program of its own (``takopi-demo``) that prints JSON lines. takopi starts it like any other
engine, through its adapter file; nothing else in the package imports it.
"""
