"""Search for the fastest int8 form of a model that passes a gate, within a time budget."""
