"""The engines that can be measured, one module each: how to make its files, and how to load them."""
