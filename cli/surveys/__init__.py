"""`qudao backfill` and `qudao reconcile`: who should be marked and is not."""
