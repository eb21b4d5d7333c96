"""The OpenAI-compatible gateway in front of the engines. It never imports the operator."""
