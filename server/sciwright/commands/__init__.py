"""What the command line does, a module for each command; `sciwright.cli` declares their options."""
