"""The shaft: artifacts, steps, lineage, tables; it knows no stage."""
