"""What is timed: a step of either stage, captions, the conversion of captions, the error of low precision."""
