"""What people read: in goes a report, out come an HTML page and a model card."""
