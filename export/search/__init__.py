"""The search: in go an optimised graph and a budget, out comes the form that was chosen, and why."""
