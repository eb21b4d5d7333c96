"""Adapter: verify and evaluate the artifact, decide, follow its serving."""
