"""Plans: how far each layer may be compressed within a tolerance and a budget."""
