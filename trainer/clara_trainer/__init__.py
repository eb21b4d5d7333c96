"""What runs in Job pods: train an adapter, verify and evaluate one, record a decision, recover an outcome.

`python -m clara_trainer /clara/run/run.json` is the only entry. It reads and writes the artifact store and never talks to
the Kubernetes API. Importing this package stays light: torch and transformers are imported where weights are touched.
"""
