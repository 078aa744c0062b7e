"""What "good" means: the YAML constitution, its templates, its exact checks, and the library that ships."""
