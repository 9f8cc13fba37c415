"""Static checks: what can be said of a candidate without running it."""

import ast
import warnings

from sciwright.verification.verdict import Tier, Verdict


def check(code: str, *, at_top_level: bool = True) -> Verdict:
    """Return `PARSED` for code that is valid Python and does something, else `REJECTED` with the reason.

    Args:
        code: The candidate's code, from column 0.
        at_top_level: Whether it goes to the left margin, where `return` and the like make no sense.
    """
    if not code.strip():
        return Verdict(Tier.REJECTED, "it holds no code")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the candidate's text, not of ours
            tree = ast.parse(code)
            if at_top_level:
                compile(tree, "candidate", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        return Verdict(Tier.REJECTED, f"line {error.lineno}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return Verdict(Tier.REJECTED, f"it cannot be parsed ({str(error) or type(error).__name__})")
    if not tree.body:
        return Verdict(Tier.REJECTED, "it holds only comments")
    if all(map(_does_nothing, tree.body)):
        return Verdict(Tier.REJECTED, "it does nothing")
    return Verdict(Tier.PARSED)


def _does_nothing(statement: ast.stmt) -> bool:
    """Return whether a statement is `pass`, `...` or a string on its own."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )
