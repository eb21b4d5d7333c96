"""GoldenDataset: valid, counted, digested."""
