"""How a run happens: processes, session locks and the one generic JSONL runner."""
