"""Energy, area and SRAM figures of the array."""
