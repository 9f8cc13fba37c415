"""Sciwright: `# Task:` comments become scientific Python code.

The data flows one way, a module for each step::

    buffer text -> tasks -> context -> prompts -> samplers -> candidates -> verification -> edits -> editor

This package imports nothing at import time, so that `sciwright serve` starts at once.
"""

__version__ = "0.1.0"
