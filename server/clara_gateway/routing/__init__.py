"""Which engine answers a request: names → target → filter → score → pick. Pure: no sockets, no clocks, no random numbers.

    objects ──snapshot──▶ Snapshot ──names──▶ Target ──filters, scorers, pick──▶ Placement

The skin (`proxy.py`, `knowledge.py`) hands in objects, counts and the turn, and acts on what comes out.
"""
