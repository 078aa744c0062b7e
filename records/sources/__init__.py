"""Prompts and preference data of others: files, hub, databases; by preset of a public layout or by column names."""
