class Refused(Exception):
    """Why nothing was exported: one line that says what is wrong and what to do."""
