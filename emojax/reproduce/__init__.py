"""Why two runs differ: what `--record` kept of each, laid side by side; a run's first steps taken again; studies."""
