"""The two steps, `sft_step` and `grpo_step`, and what runs them: optimizer, loop, checkpoints, log."""
