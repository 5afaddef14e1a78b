"""The ADQL grammar as a sqlglot dialect, and the list of what a query may contain.

queryparser-python3 is not used for this: its translator calls ``eval`` on the arguments of POINT and CIRCLE
(``queryparser.adql.adqltranslator``, 0.8), so a query could run Python in the service, and its parse takes seconds.

Invariants: every function is parsed as a plain call, so that :mod:`.functions` alone decides which exist; syntax
that ADQL does not have is refused by :func:`check_grammar` even when the parser would understand it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp, parser, tokens
from sqlglot.dialects.dialect import Dialect, NormalizationStrategy
from sqlglot.errors import ParseError, SqlglotError

from gavip_archive.errors import ADQLError


class ADQL(Dialect):
    """Astronomical Data Query Language (IVOA ADQL 2.0 and 2.1)."""

    # DuckDB and TAP column names are case-insensitive, quoted or not
    NORMALIZATION_STRATEGY = NormalizationStrategy.CASE_INSENSITIVE
    NULL_ORDERING = "nulls_are_last"

    class Tokenizer(tokens.Tokenizer):
        """SQL-92 tokens plus TOP."""

        KEYWORDS = {**tokens.Tokenizer.KEYWORDS, "TOP": tokens.TokenType.TOP}  # type: ignore[attr-defined]

    class Parser(parser.Parser):
        """A parser that knows no functions but CAST: all others are plain calls."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS = {"CAST": parser.Parser.FUNCTION_PARSERS["CAST"]}
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
        NO_PAREN_FUNCTION_PARSERS = {"CASE": parser.Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]}


_ALLOWED: frozenset[type[exp.Expr]] = frozenset(
    {
        # query structure
        exp.Select,
        exp.From,
        exp.Where,
        exp.Group,
        exp.Having,
        exp.Order,
        exp.Ordered,
        exp.Limit,
        exp.Offset,
        exp.Join,
        exp.Table,
        exp.TableAlias,
        exp.Subquery,
        exp.Union,
        exp.Except,
        exp.Intersect,
        exp.With,
        exp.CTE,
        exp.Distinct,
        exp.Alias,
        exp.Star,
        # values
        exp.Column,
        exp.Identifier,
        exp.Literal,
        exp.Null,
        exp.Paren,
        exp.Neg,
        exp.Add,
        exp.Sub,
        exp.Mul,
        exp.Div,
        exp.DPipe,
        exp.Case,
        exp.If,
        exp.Cast,
        exp.DataType,
        exp.DataTypeParam,
        exp.Anonymous,
        # conditions
        exp.And,
        exp.Or,
        exp.Not,
        exp.EQ,
        exp.NEQ,
        exp.LT,
        exp.LTE,
        exp.GT,
        exp.GTE,
        exp.Between,
        exp.In,
        exp.Like,
        exp.ILike,
        exp.Escape,
        exp.Is,
        exp.Exists,
    }
)

_CAST_TYPES = frozenset(
    {
        exp.DataType.Type.SMALLINT,
        exp.DataType.Type.INT,
        exp.DataType.Type.BIGINT,
        exp.DataType.Type.FLOAT,
        exp.DataType.Type.DOUBLE,
        exp.DataType.Type.CHAR,
        exp.DataType.Type.VARCHAR,
    }
)


def parse(query: str) -> exp.Query:
    """Parse one ADQL query.

    Parameters
    ----------
    query : str
        The text; one trailing semicolon is tolerated.

    Returns
    -------
    sqlglot.exp.Query
        The checked tree, names unresolved.

    Raises
    ------
    ADQLError
        When it is not one ADQL query.
    """
    try:
        trees = ADQL().parse(query)
    except ParseError as error:
        raise _syntax_error(error) from error
    except SqlglotError as error:  # the tokenizer's: an unfinished string or comment
        raise ADQLError(
            "The query has an unfinished string, name or comment.", hint="Close every quote."
        ) from error
    except RecursionError as error:
        raise ADQLError("The query is nested too deeply.", hint="Use fewer parentheses.") from error
    if any(
        tree is not None and not isinstance(tree, exp.Semicolon) for tree in trees[1:]
    ):  # a comment may follow
        raise ADQLError(
            "There is text after the semicolon.",
            hint="Send one query at a time; nothing was executed.",
        )
    tree = trees[0] if trees else None
    if tree is None:
        raise ADQLError(
            "The query is empty.", hint="For example: SELECT TOP 10 * FROM gaiadr3.gaia_source"
        )
    while isinstance(tree, exp.Subquery) and not tree.alias:
        tree = tree.this
    if not isinstance(tree, (exp.Select, exp.SetOperation)):
        raise ADQLError(
            "The query does not start with SELECT.", hint="ADQL only reads: SELECT … FROM …"
        )
    try:
        check_grammar(tree)
    except RecursionError as error:
        raise ADQLError("The query is nested too deeply.", hint="Use fewer parentheses.") from error
    return tree


def _syntax_error(error: ParseError) -> ADQLError:
    first = error.errors[0] if error.errors else {}
    near = str(first.get("highlight") or "").strip()
    where = f" near “{near}”" if near else ""
    line, column = first.get("line"), first.get("col")
    place = f" (line {line}, column {column})" if line else ""
    return ADQLError(
        f"ADQL syntax error{where}{place}.",
        hint="Check commas, parentheses and the order of the keywords:"
        " SELECT TOP n … FROM … WHERE … GROUP BY … HAVING … ORDER BY …",
    )


def check_grammar(tree: exp.Expr) -> None:
    """Refuse everything that is not ADQL.

    Raises
    ------
    ADQLError
        Naming the first construct that is not allowed.
    """
    for node in tree.walk():
        if type(node) not in _ALLOWED:
            raise ADQLError(f"ADQL has no such construct: {_excerpt(node)}")
        if isinstance(node, exp.Select):
            _check_select(node)
        elif isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier):
            raise ADQLError(f"A function cannot be queried like a table: {_excerpt(node)}")
        elif isinstance(node, exp.With) and node.args.get("recursive"):
            raise ADQLError("WITH RECURSIVE is not part of ADQL.")
        elif isinstance(node, exp.DataType) and node.this not in _CAST_TYPES:
            raise ADQLError(
                f"CAST to {_excerpt(node)} is not supported.",
                hint="SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, CHAR and VARCHAR are.",
            )
        elif isinstance(node, (exp.Limit, exp.Offset)) and not _is_row_count(node.expression):
            raise ADQLError("TOP and OFFSET take a non-negative whole number.")


def _check_select(node: exp.Select) -> None:
    if not node.expressions:
        raise ADQLError(
            "ADQL syntax error: nothing is selected.", hint="Name columns, or write SELECT * FROM …"
        )
    for value in node.find_all(exp.Distinct):
        if value.args.get("on"):
            raise ADQLError("DISTINCT ON is not part of ADQL.")
    for clause in (
        "hint",
        "into",
        "laterals",
        "windows",
        "qualify",
        "sample",
        "settings",
        "connect",
    ):
        if node.args.get(clause):
            raise ADQLError(f"{clause.upper()} is not part of ADQL.")


def _is_row_count(value: object) -> bool:
    return isinstance(value, exp.Literal) and not value.is_string and str(value.this).isdigit()


def _excerpt(node: exp.Expr) -> str:
    text = node.sql(dialect=ADQL, comments=False)
    return text if len(text) <= 60 else text[:57] + "…"
