"""One module a command: HELP, EXAMPLES, `add_arguments(parser)`, `run(args) -> exit code`; its docstring is help."""

COMMANDS = (
    "init",
    "enrol",
    "collect",
    "stations",
    "records",
    "refusals",
    "show",
    "export",
    "import",
    "verify",
    "quiet",
    "forward",
    "config",
)
