"""The operator: observes custom resources, decides, acts (DESIGN §3)."""
