"""Python's own tokenizer, to compare with."""

import io
import tokenize

from hypothesis import assume


def tokens_of(text: str) -> list[tokenize.TokenInfo]:
    """Return the tokens of `text`, or make Hypothesis try another text if the tokenizer refuses this one."""
    # For 3.11's tokenizer the second of two backslashes escapes the line's end.
    assume("\\\\\n" not in text.replace("\r", ""))
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text, newline="").readline))
    except (SyntaxError, tokenize.TokenError):
        assume(False)
    assume(not any(token.type == tokenize.ERRORTOKEN and token.string.strip() for token in tokens))
    return tokens
