"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Input that cannot be used. Its sentence says what must hold, what was found and what to do."""
