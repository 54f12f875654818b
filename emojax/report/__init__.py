"""Pages: of a run, of several side by side, of a comparison, of a study; each one file that opens without a network."""
