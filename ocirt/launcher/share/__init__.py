"""Manual pages and completions of shells, written from the option tables when ocirt is installed."""
