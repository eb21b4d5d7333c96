"""The agent beside each vLLM engine: load, prove, unload; and the guard inside it."""
