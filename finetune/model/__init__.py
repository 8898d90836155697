"""In go a model name and a recipe, out come a model, its head, its tokens and its objective."""
