"""The error that users see."""


class UserError(Exception):
    """An error that the user can mend; its message names the file, the fault and the remedy."""
