"""An engine for takopi, written in Python, and the small agent that it runs."""
