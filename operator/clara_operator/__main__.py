"""`python -m clara_operator`: see main.py."""

from __future__ import annotations

from clara_operator.main import main

raise SystemExit(main())
