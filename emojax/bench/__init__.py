"""What is timed: a GRPO step, the conversion of captions, the error of low precision."""
