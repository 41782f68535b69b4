"""A process that writes to a SQLite database as a build does: one statement a line of JSON in, its outcome as a line out."""

import json
import sqlite3
import sys


def main() -> None:
    """Statements as `[sql, parameters]`; `{"rows": ..., "changes": ..., "last": ..., "error": ...}` for each."""
    connection = sqlite3.connect(sys.argv[1], timeout=float(sys.argv[2]), isolation_level=None)
    for line in sys.stdin:
        sql, parameters = json.loads(line)
        answer: dict[str, object] = {}
        try:
            cursor = connection.execute(sql, parameters)
            answer["rows"] = [[value.hex() if isinstance(value, bytes) else value for value in row] for row in cursor.fetchall()]
        except sqlite3.Error as error:
            answer["error"] = str(error)
        answer["changes"], answer["last"] = connection.execute("SELECT changes(), last_insert_rowid()").fetchone()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
