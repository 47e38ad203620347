"""Language models that learn from language models."""
