"""Error that the user can correct."""


class InputError(ValueError):
    """Error of invalid input; its sentence states the requirement, the value found and the remedy."""
