"""What clients speak: each module turns one dialect's requests into texts, and answers back into its shape."""
