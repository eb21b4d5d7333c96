"""TrainingJob: one run of a recipe becomes one Job per attempt and, in the end, one Adapter."""
