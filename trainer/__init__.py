"""From pairs to an adapter: SFT, DPO, reference handling. Knows only the records; never imports the generator."""
