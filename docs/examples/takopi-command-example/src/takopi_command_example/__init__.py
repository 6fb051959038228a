"""A command for takopi: /everyone asks every engine at once."""
