"""Report of a co-design: page, charts and tables."""
