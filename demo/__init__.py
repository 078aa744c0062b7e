"""The embedded default: a tiny language model of a tiny world, the grammar it learned from, and its prompts."""
