"""People of whom a table holds several rows each."""

PEOPLE = {
    "columns": {
        "age": {"type": "numeric", "dtype": "int64", "low": 20, "high": 80, "places": 0},
        "income": {"type": "numeric", "low": 0.0, "high": 1e5, "places": 2},
        "city": {"type": "categorical", "categories": ["Bonn", "Oslo", "Rome"]},
        "outcome": {"type": "categorical", "categories": ["ill", "well"]},
        "person": {"type": "key", "dtype": "int64"},
    },
    "unit": {"table": "table", "columns": ["person"], "max_rows": 4},
}
"""A schema that declares whom rows belong to."""
