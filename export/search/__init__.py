"""In go a model's graphs, a gate and a budget, out come the chosen int8 form and the reasons for it."""
