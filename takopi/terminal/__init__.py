"""The chat in a terminal: a transport like any other, with no account."""
