"""The one prompt format, for serving and for training alike.

The user's turn is the chosen part of the buffer, ending with the task comment as it stands there; the
assistant's turn is the code, without fences. The model's own chat template turns it into tokens.
"""

from sciwright.samplers.protocol import Message
from sciwright.tasks import Task

# Set explicitly, since the templates of several models put in a text of their own where there is none.
SYSTEM = (
    "You are a coding assistant for scientists. Complete the Python program: "
    "write only the code that follows its last comment."
)


def build(source: str, task: Task) -> tuple[Message, ...]:
    """Return the chat prompt for `task` below `source` (see `sciwright.context.Context.source`)."""
    # Half a surrogate pair, which an editor can send, is no text that a server takes.
    text = (source + comment(task)).encode(errors="replace").decode()
    return Message("system", SYSTEM), Message("user", text)


def comment(task: Task) -> str:
    """Return the task in its one normal form, at its own indentation, without a line end."""
    lines = [f"Task: {task.text}", *(f"Check: {check}" for check in task.checks)]
    return "\n".join(f"{task.indent}# {line}" for line in lines)
