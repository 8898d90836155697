"""Turn the requests of each dialect into texts, and answers into its responses."""
