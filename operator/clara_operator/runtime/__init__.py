"""What runs the reconcilers: connection, intake, queue, workers. Nothing in here knows what an Adapter is."""
