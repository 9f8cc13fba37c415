"""The language server: one small module for each feature; handlers only translate."""
