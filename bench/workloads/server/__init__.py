"""Servers under load: `ftx serve` and others with the same file, each in a process of its own."""
