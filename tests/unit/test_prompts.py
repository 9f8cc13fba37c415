"""The one prompt format."""

import pytest

from sciwright import prompts
from sciwright.context import gather
from sciwright.tasks import Task, find_tasks


@pytest.mark.parametrize(
    ("source", "user"),
    [
        ("# Task: plot y", "# Task: plot y"),
        ("#task:plot y\n#  against x\n", "# Task: plot y against x"),
        ("x = 1\n\n## TASK : plot x\n# check:x > 0\nbelow = 1\n", "x = 1\n# Task: plot x\n# Check: x > 0"),
        (
            "x = 1\r\n# Task: plot x\r\n# Check: a\r\n# Check: b",
            "x = 1\n# Task: plot x\n# Check: a\n# Check: b",
        ),
        ("def f(x):\n    # Task: plot x\n    # Check: x\n", "def f(x):\n    # Task: plot x\n    # Check: x"),
        ("\ufeff# Task: plot 😀", "# Task: plot 😀"),
        ("if x:\n\t\f# Task: plot\n", "if x:\n\n# Task: plot".replace("\n\n", "\n")),
        ("# Task: plot \ud800", "# Task: plot ?"),
    ],
)
def test_the_users_turn_ends_with_the_task_in_its_normal_form(source: str, user: str) -> None:
    task = find_tasks(source)[-1]
    system, message = prompts.build(gather(source, task, 1000).source, task)
    assert (system.role, system.content) == ("system", prompts.SYSTEM)
    assert (message.role, message.content) == ("user", user)
    message.content.encode()


def test_another_trigger_word_is_written_as_task() -> None:
    """The model has seen one word only."""
    (task,) = find_tasks("# Do: plot y", "Do")
    assert prompts.comment(task) == "# Task: plot y"


def test_the_normal_form_is_read_back_as_the_same_task() -> None:
    task = Task("plot y against x", ("len(y) == 3", "y[0] > 0"), 0, 2, "    ")
    assert find_tasks(prompts.comment(task)) == [task]
