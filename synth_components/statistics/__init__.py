"""Statistics of columns and tables, as functions of arrays: `profile` calls them, and whatever reads a database may."""
