"""The error that users see."""


class UserError(Exception):
    """Something the user can mend: the message names the file, what is wrong and what to do."""
