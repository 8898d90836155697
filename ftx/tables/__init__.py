"""Read rows of text from files: CSV, TSV, JSON lines, Parquet and plain text, row by row, with file and line."""
