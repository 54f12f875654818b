"""What the tests share: made-up clips and models, small runs, and the scripts that they start as processes."""
