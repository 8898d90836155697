"""In goes the report of an export, out come an HTML page and a model card."""
