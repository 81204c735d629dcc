"""Co-design: search of compression and array together, verification, fleets."""
