"""Everything two of Clara's programs must agree on: the custom resources, their words, and the handoffs between programs.

Pydantic and pure functions only: no sockets, no clocks, no files. Every program imports this package; it imports none of them.
"""
