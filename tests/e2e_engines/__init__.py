"""End-to-end runs of the real CLIs through takopi, against a fake model server.

Not part of the test suite: it downloads CLIs and takes minutes. `make e2e-engines` runs it; see
docs/how-to/run-the-real-clis.md.
"""
