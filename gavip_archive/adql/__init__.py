"""ADQL 2.0, and the parts of 2.1 that databases do well, to DuckDB's SQL.

The query is parsed into a tree (sqlglot), every node is checked against what ADQL allows, names are resolved against
the published tables, and only what survived is written out as SQL. No text of the query reaches the database
other than as a literal or an identifier of the tree.
"""
