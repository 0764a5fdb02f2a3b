"""One module a table: it runs the table, writes `results/*.json`, and `render.py` turns those into Markdown."""
