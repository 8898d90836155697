"""Read tables, hub data sets and packages; return labelled text, split into training and held-out rows."""
