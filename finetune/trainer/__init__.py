"""Take a model and tokenised rows; train with the Hugging Face Trainer, which can be resumed after a kill."""
