"""A chat for takopi on stdin and stdout: a line in is a message."""
