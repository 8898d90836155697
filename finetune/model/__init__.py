"""Take a model name and a recipe; return the model under its head, tokenised texts, the loss and the precision."""
