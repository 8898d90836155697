"""Serve a classifier over HTTP: one file, many clients, in the dialects that they speak already."""
