"""What `emojax` hands on in Python beside captioning: runs, scores, one step looked at."""
