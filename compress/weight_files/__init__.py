"""Files of weights as people keep them: told apart by content, read by parameter name, and written."""
