"""A captioner as Hugging Face directories, adapters and a model card; written and read back."""
