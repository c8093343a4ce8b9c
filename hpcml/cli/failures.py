"""How a command fails: one line on stderr and an exit status, never a traceback."""

__all__ = ["INTERRUPTED", "WRONG", "CommandError", "one_line"]

#: Exit status of a command that was asked for something impossible.
WRONG = 2

#: Exit status after Ctrl-C, as shells know it (128 + the signal).
INTERRUPTED = 130


class CommandError(Exception):
    """A failure that the user can mend; the message is one line and names the cure.

    Parameters
    ----------
    message : str
        What is wrong and what to do.
    status : int, default=2
        Exit status of the command.
    """

    def __init__(self, message: str, status: int = WRONG) -> None:
        super().__init__(one_line(message))
        self.status = status


def one_line(message: object) -> str:
    """Fold a message into one line.

    Examples
    --------
    >>> from hpcml.cli.failures import one_line
    >>> one_line("Input X contains NaN.\\nRidge does not accept missing values.")
    'Input X contains NaN. Ridge does not accept missing values.'
    """
    return " ".join(str(message).split())
