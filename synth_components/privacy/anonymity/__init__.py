"""k-anonymity, l-diversity and t-closeness of a table: measured, and enforced by recoding with the least loss."""
