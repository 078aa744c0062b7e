"""The demo: its world, its prompts, and that nothing held out is taught."""
