"""ServingDeployment: engine pods, what each engine should hold, and where the aliases point."""
