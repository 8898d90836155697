"""Render an export's report as an HTML page and a model card."""
