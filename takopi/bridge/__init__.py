"""What to do with a message, for any chat."""
