"""Co-design of a network's compression and the array that runs it: the one place that knows both sides."""
