"""In go tables, hub data sets and packages, out comes labelled text, split into two sides."""
