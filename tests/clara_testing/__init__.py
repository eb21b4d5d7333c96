"""Builders with good defaults, so that a test shows only what it is about."""
