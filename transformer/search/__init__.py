"""A search engine: a query attends to titles (keys) and reads the texts (values)."""
