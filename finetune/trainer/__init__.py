"""The Hugging Face Trainer, checkpoints that a kill can not break, several processes."""
