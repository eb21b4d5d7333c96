"""The arrows between programs: one small model each, written by one side and read by the other (docs/architecture.md)."""
