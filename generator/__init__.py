"""From prompts to verified pairs: engines, the chain, verification, sources, scheduling."""
