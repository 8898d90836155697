"""The recipes that ship with ftx, one TOML file each."""
